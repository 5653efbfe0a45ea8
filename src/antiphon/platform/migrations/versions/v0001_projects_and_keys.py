"""Projects with their service keys and client secrets, and the default project."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from antiphon.platform.tables import DEFAULT_PROJECT_ID, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_table(
        "service_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_service_keys"),
        sa.UniqueConstraint("hash", name="uq_service_keys_hash"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_service_keys_project_id_projects", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_service_keys_project_id", "service_keys", ["project_id"])
    op.create_table(
        "client_secrets",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("session_config", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_client_secrets"),
        sa.UniqueConstraint("hash", name="uq_client_secrets_hash"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_client_secrets_project_id_projects", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_client_secrets_project_id", "client_secrets", ["project_id"])
    op.create_index("ix_client_secrets_expires_at", "client_secrets", ["expires_at"])
    op.bulk_insert(projects, [{"id": DEFAULT_PROJECT_ID, "name": "Default project", "created_at": datetime.now(UTC)}])


def downgrade() -> None:
    """Drop the first tables."""
    op.drop_table("client_secrets")
    op.drop_table("service_keys")
    op.drop_table("projects")
