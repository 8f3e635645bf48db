"""The steps of the control database's schema, oldest first; Alembic runs them, `store.upgrade` starts it."""
