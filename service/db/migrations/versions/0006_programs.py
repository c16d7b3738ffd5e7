"""Programs that label."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    key = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
    time = sa.DateTime(timezone=True)
    op.add_column("pools", sa.Column("programs", sa.Integer(), server_default="0", nullable=False))
    op.add_column("webhooks", sa.Column("program", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "annotators",
        sa.Column("id", key, nullable=False),
        sa.Column("project_id", key, nullable=False),
        sa.Column("webhook_id", key, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("lease_seconds", sa.Integer(), nullable=False),
        sa.Column("max_labels", sa.Integer(), nullable=False),
        sa.Column("max_cost", sa.Double(), nullable=True),
        sa.Column("labels_used", sa.Integer(), nullable=False),
        sa.Column("cost_used", sa.Double(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("stopped_reason", text, nullable=True),
        sa.Column("due_at", time, nullable=True),
        sa.Column("rests_since", sa.Integer(), nullable=True),
        sa.Column("rests_until", time, nullable=True),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_annotators_project_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="fk_annotators_webhook_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_annotators"),
    )
    op.create_index("ix_annotators_project_id_name", "annotators", ["project_id", "name"], unique=True)
    op.create_index("ix_annotators_webhook_id", "annotators", ["webhook_id"])
    op.create_index("ix_annotators_due_at", "annotators", ["due_at"])
    op.create_table(
        "annotator_calls",
        sa.Column("id", key, nullable=False),
        sa.Column("annotator_id", key, nullable=False),
        sa.Column("job_id", text, nullable=True),
        sa.Column("delivery_id", text, nullable=True),
        sa.Column("state", text, nullable=False),
        sa.Column("failure", text, nullable=True),
        sa.Column("detail", text, nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("change_sequence", sa.Integer(), nullable=False),
        sa.Column("expires_at", time, nullable=True),
        sa.Column("created_at", time, nullable=False),
        sa.Column("finished_at", time, nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name="fk_annotator_calls_annotator_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_annotator_calls"),
    )
    op.create_index("ix_annotator_calls_annotator_id_id", "annotator_calls", ["annotator_id", "id"])
    op.create_index("ix_annotator_calls_job_id", "annotator_calls", ["job_id"])
    op.create_index("ix_annotator_calls_delivery_id", "annotator_calls", ["delivery_id"])


def downgrade() -> None:
    op.drop_table("annotator_calls")
    op.drop_table("annotators")
    op.execute("DELETE FROM webhooks WHERE program")  # the release before would show them
    op.drop_column("webhooks", "program")
    op.drop_column("pools", "programs")
