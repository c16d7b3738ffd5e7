"""Which trace jobs and deliveries belong to, and which jobs ended lately."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.add_column("jobs", sa.Column("traceparent", text, nullable=True))
    op.add_column("deliveries", sa.Column("traceparent", text, nullable=True))
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index("ix_jobs_finished", "jobs", ["finished_at"], sqlite_where=ended, postgresql_where=ended)


def downgrade() -> None:
    op.drop_index("ix_jobs_finished", "jobs")
    op.drop_column("deliveries", "traceparent")
    op.drop_column("jobs", "traceparent")
