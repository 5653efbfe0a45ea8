"""What Alembic runs: applies the migrations over the connection that the store hands in."""

from __future__ import annotations

from alembic import context

from antiphon.platform.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
