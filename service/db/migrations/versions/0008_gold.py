"""Gold questions: examples whose right answer is known."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("examples", sa.Column("gold", sa.String().with_variant(sa.String(collation="C"), "postgresql")))
    gold = sa.text("gold IS NOT NULL")
    op.create_index("ix_examples_gold", "examples", ["project_id", "row"], sqlite_where=gold, postgresql_where=gold)


def downgrade() -> None:
    op.drop_index("ix_examples_gold", "examples")
    # what the release before does not know: rows that are never queried or trained on
    op.execute("UPDATE examples SET split = 'test' WHERE split = 'gold'")
    op.drop_column("examples", "gold")
