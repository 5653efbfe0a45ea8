"""Prompts that sessions name by id and version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from antiphon.platform.tables import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of prompts."""
    op.create_table(
        "prompts",
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("prompt_id", sa.String(80), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("voice", sa.String(128), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "prompt_id", "version", name="pk_prompts"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_prompts_project_id_projects", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Drop the table of prompts."""
    op.drop_table("prompts")
