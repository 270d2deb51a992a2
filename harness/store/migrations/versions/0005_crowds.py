"""A comment beside a vote; people who come by a study's one open link."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Columns with defaults alone, so that rows that stand there stay as they are."""
    op.add_column("ratings", sa.Column("comment", sa.Text, nullable=False, server_default=""))
    op.add_column("studies", sa.Column("open_hash", sa.String(64)))
    op.create_index("ix_studies_open_hash", "studies", ["open_hash"], unique=True)
    op.add_column("study_raters", sa.Column("person", sa.String(64)))
    op.add_column("study_raters", sa.Column("arrival", sa.JSON))
    op.create_index("ix_study_raters_person", "study_raters", ["study_id", "person"], unique=True)
