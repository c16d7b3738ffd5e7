"""Goals of projects, how far they are, and figures by class."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("goal", sa.Text(), nullable=True))
    op.add_column("models", sa.Column("by_class", sa.Text(), nullable=True))
    op.add_column("models", sa.Column("estimates", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("models", "estimates")
    op.drop_column("models", "by_class")
    op.drop_column("projects", "goal")
