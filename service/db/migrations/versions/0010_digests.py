"""Digests of the files of models."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    project = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
    op.create_table(
        "object_digests",
        sa.Column("key", text, nullable=False),
        sa.Column("project_id", project, nullable=False),
        sa.Column("sha256", text, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_object_digests_project_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name="pk_object_digests"),
    )
    op.create_index("ix_object_digests_project_id", "object_digests", ["project_id"])


def downgrade() -> None:
    op.drop_table("object_digests")
