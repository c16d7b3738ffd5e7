"""Pinned examples, indexes over what has a priority or a group, and paused projects."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("examples", sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("projects", sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False))
    first, grouped = sa.text("priority IS NOT NULL OR pinned"), sa.text("group_name IS NOT NULL")
    op.create_index("ix_examples_first", "examples", ["project_id", "row"], sqlite_where=first, postgresql_where=first)
    op.create_index(
        "ix_examples_grouped",
        "examples",
        ["project_id", "group_name", "row"],
        sqlite_where=grouped,
        postgresql_where=grouped,
    )


def downgrade() -> None:
    op.drop_index("ix_examples_grouped", "examples")
    op.drop_index("ix_examples_first", "examples")
    op.drop_column("projects", "paused")
    op.drop_column("examples", "pinned")
