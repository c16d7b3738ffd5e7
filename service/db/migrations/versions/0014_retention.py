"""What was removed as its time was over, and since when models serve no more."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ENDED = "finished_at IS NOT NULL"


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.add_column("jobs", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("models", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("models", sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True))
    # nobody noted when they served last: their time begins with the update
    served = sa.text("UPDATE models SET superseded_at = :now").bindparams(
        sa.bindparam("now", _now(), type_=sa.DateTime(timezone=True))
    )
    op.execute(served)
    op.drop_index("ix_jobs_finished", "jobs")
    _index("ix_jobs_finished", "jobs", f"{_ENDED} AND removed_at IS NULL")
    _index("ix_deliveries_finished", "deliveries", _ENDED)
    op.create_table(
        "removals",
        sa.Column("kind", text, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_removals")),
    )


def downgrade() -> None:
    op.drop_table("removals")
    op.drop_index("ix_deliveries_finished", "deliveries")
    op.drop_index("ix_jobs_finished", "jobs")
    _index("ix_jobs_finished", "jobs", _ENDED)
    op.drop_column("models", "superseded_at")
    op.drop_column("models", "removed_at")
    op.drop_column("jobs", "removed_at")


def _index(name: str, table: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, ["finished_at"], sqlite_where=where, postgresql_where=where)


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(tzinfo=None) if op.get_bind().dialect.name == "sqlite" else now
