"""What 0.1.0 does not have: text that PostgreSQL compares by its bytes, labels by project, and new counters.

No table of PostgreSQL is copied: its indexes of text are built anew, and pages of examples that are full stay full.
SQLite copies the labels.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = (
    *("array_builds", "batch_items", "batches", "candidate_changes", "chunks", "deliveries", "delivery_attempts"),
    *("error_lists", "examples", "idempotent_answers", "jobs", "keys", "label_history", "labels", "leaders", "leases"),
    *("loose_vectors", "models", "outbox", "pools", "projects", "staged_examples", "uploads", "webhooks"),
)


def upgrade() -> None:
    op.drop_index("ix_labels_project_id_id", table_name="labels")
    if _is_postgresql():
        op.drop_constraint("fk_labels_project_id", "labels", type_="foreignkey")
        op.drop_constraint("pk_labels", "labels", type_="primary")
        _compare_text('"C"')
        op.create_primary_key("pk_labels", "labels", ["project_id", "id"])
        op.execute("ALTER TABLE examples SET (fillfactor = 50)")
    else:
        with op.batch_alter_table("labels") as labels:
            labels.drop_constraint("fk_labels_project_id", type_="foreignkey")
            labels.drop_constraint("pk_labels", type_="primary")
            labels.create_primary_key("pk_labels", ["project_id", "id"])
    op.drop_column("array_builds", "until")
    op.add_column("jobs", sa.Column("passing_faults", sa.Integer(), server_default="0", nullable=False))
    op.add_column("pools", sa.Column("data_fields", sa.Text(), nullable=True))
    op.add_column("pools", sa.Column("attempted_generation", sa.Integer(), server_default="0", nullable=False))
    # in 0.1.0 a training that failed had trained what it covered
    op.execute("UPDATE pools SET attempted_generation = trained_generation")
    # elsewhere any field may be there, so that no filter is refused
    op.execute("UPDATE pools SET data_fields = '[]' WHERE next_row = 0")


def downgrade() -> None:
    op.drop_column("pools", "attempted_generation")
    op.drop_column("pools", "data_fields")
    op.drop_column("jobs", "passing_faults")
    # whoever fills an array begins anew, and labels belong to projects that are there
    op.execute("DELETE FROM array_builds")
    op.execute("DELETE FROM labels WHERE project_id NOT IN (SELECT id FROM projects)")
    if _is_postgresql():
        op.add_column("array_builds", sa.Column("until", sa.DateTime(timezone=True), nullable=False))
        op.execute("ALTER TABLE examples RESET (fillfactor)")
        op.drop_constraint("pk_labels", "labels", type_="primary")
        _compare_text("pg_catalog.default")
        op.create_primary_key("pk_labels", "labels", ["id"])
        op.create_foreign_key("fk_labels_project_id", "labels", "projects", ["project_id"], ["id"], ondelete="CASCADE")
    else:
        with op.batch_alter_table("array_builds") as array_builds:
            array_builds.add_column(sa.Column("until", sa.DateTime(timezone=True), nullable=False))
        with op.batch_alter_table("labels") as labels:
            labels.drop_constraint("pk_labels", type_="primary")
            labels.create_primary_key("pk_labels", ["id"])
            labels.create_foreign_key("fk_labels_project_id", "projects", ["project_id"], ["id"], ondelete="CASCADE")
    op.create_index("ix_labels_project_id_id", "labels", ["project_id", "id"], unique=False)


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _compare_text(collation: str) -> None:
    """Give all columns of text of a table another collation at once, so that each index is built once."""
    found = sa.inspect(op.get_bind())
    for table in _TABLES:
        kinds = {column["name"]: column["type"] for column in found.get_columns(table)}
        lengths = {name: kind.length for name, kind in kinds.items() if isinstance(kind, sa.VARCHAR)}
        changes = [
            f'ALTER COLUMN "{name}" TYPE VARCHAR{f"({length})" if length else ""} COLLATE {collation}'
            for name, length in lengths.items()
        ]
        if changes:
            op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
