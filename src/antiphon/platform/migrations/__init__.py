"""Alembic migrations, shipped with the package and applied when the store is opened.

A change of the tables adds a module to ``versions``, by hand and in order, and moves
:data:`antiphon.platform.store.HEAD`. Alembic itself is imported only when something is to be applied.
"""
