"""Models of the client's own, of which only predictions are known, and pinned versions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.add_column("pools", sa.Column("pin", text, nullable=True))
    op.add_column("models", sa.Column("name", text, nullable=True))
    op.add_column("models", sa.Column("open", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("models", sa.Column("members", sa.Integer(), server_default="0", nullable=False))
    op.add_column("models", sa.Column("dimensions", sa.Integer(), nullable=True))


def downgrade() -> None:
    # what the release before cannot serve: models without a file
    serving = "models.project_id = pools.project_id AND models.version = pools.model_version"
    op.execute(
        f"UPDATE pools SET model_version = 0 WHERE EXISTS (SELECT 1 FROM models WHERE {serving} AND name IS NOT NULL)"  # noqa: S608
    )
    op.execute("DELETE FROM models WHERE name IS NOT NULL")
    op.execute("DELETE FROM chunks WHERE \"array\" LIKE 'external%'")
    for column in ("dimensions", "members", "open", "name"):
        op.drop_column("models", column)
    op.drop_column("pools", "pin")
