"""Alembic's entry: runs the migrations on the connection that `harness.store.database.migrate` hands over."""

from alembic import context

from harness.store.database import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
