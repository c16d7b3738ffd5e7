"""Prepared rankings, from which examples are given one at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    project_id = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
    op.create_table(
        "rankings",
        sa.Column("project_id", project_id, nullable=False),
        sa.Column("annotator", text, nullable=False),
        sa.Column("job_id", text, nullable=True),
        sa.Column("asked_job_id", text, nullable=True),
        sa.Column("project_version", sa.Integer(), nullable=False),
        sa.Column("change_sequence", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_rankings_project_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "annotator", name="pk_rankings"),
    )


def downgrade() -> None:
    op.drop_table("rankings")
