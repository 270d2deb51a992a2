"""Answers of local models to judges' questions, by the digest of what was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apart from what endpoints answered: these cost time and no money, and may be deleted at any time."""
    op.create_table(
        "local_answers",
        sa.Column("key", sa.String(64), primary_key=True),  # sha256 over weights, precision and request
        sa.Column(
            "answer", sa.Text, nullable=False
        ),  # log-probabilities, probabilities or text, as the model gave them
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
    )
