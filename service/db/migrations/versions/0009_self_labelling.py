"""Labels that models make, as groups."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    key = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
    name = sa.String(256).with_variant(sa.String(256, collation="C"), "postgresql")
    time = sa.DateTime(timezone=True)
    op.create_table(
        "autolabels",
        sa.Column("id", key, nullable=False),
        sa.Column("project_id", key, nullable=False),
        sa.Column("job_id", text, nullable=False),
        sa.Column("revocation_job_id", text, nullable=True),
        sa.Column("state", text, nullable=False),
        sa.Column("target_precision", sa.Double(), nullable=False),
        sa.Column("confidence_level", sa.Double(), nullable=False),
        sa.Column("audit_share", sa.Double(), nullable=False),
        sa.Column("max_labels", sa.Integer(), nullable=True),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("finished_at", time, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_autolabels_project_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_autolabels"),
    )
    op.create_index("ix_autolabels_project_id_id", "autolabels", ["project_id", "id"])
    op.create_table(
        "autolabel_marks",
        sa.Column("autolabel_id", key, nullable=False),
        sa.Column("example_id", name, nullable=False),
        sa.Column("project_id", key, nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("value", text, nullable=False),
        sa.ForeignKeyConstraint(
            ["autolabel_id"], ["autolabels.id"], name="fk_autolabel_marks_autolabel_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("autolabel_id", "example_id", name="pk_autolabel_marks"),
    )
    op.create_index("ix_autolabel_marks_project_id_kind", "autolabel_marks", ["project_id", "kind"])
    automated = sa.text("source = 'automated'")
    op.create_index(
        "ix_labels_automated",
        "labels",
        ["project_id", "annotator", "id"],
        sqlite_where=automated,
        postgresql_where=automated,
    )


def downgrade() -> None:
    op.drop_index("ix_labels_automated", "labels")
    op.drop_table("autolabel_marks")
    op.drop_table("autolabels")
