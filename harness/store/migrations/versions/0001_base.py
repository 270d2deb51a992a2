"""The empty store, so that every table has a migration that made it."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing yet."""
