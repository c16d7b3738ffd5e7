"""PostgreSQL takes every project for a tenth of each table, so that its plans do not depend on which ones it knows."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = (
    *("annotators", "array_builds", "autolabel_marks", "autolabels", "candidate_changes", "chunks", "error_lists"),
    *("examples", "jobs", "keys", "label_history", "labels", "leases", "loose_vectors", "models", "object_digests"),
    *("pools", "rankings", "uploads", "webhooks"),
)


def upgrade() -> None:
    _change("SET (n_distinct = 10)")


def downgrade() -> None:
    _change("RESET (n_distinct)")


def _change(change: str) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN project_id {change}")
        op.execute(f"ANALYZE {table}")  # what the change is read by
