"""Answers of endpoints by the digest of what was asked, and what every call was charged."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Two tables: what was answered stands once, what was charged stands as often as it was charged."""
    op.create_table(
        "endpoint_answers",
        sa.Column("key", sa.String(64), primary_key=True),  # sha256 over server, body and draw
        sa.Column("answer", sa.Text, nullable=False),  # the body as it came, logprobs included
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "endpoint_calls",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),  # the judge's id, or "generate"
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("n_attempts", sa.Integer, nullable=False),
        sa.Column("n_lost", sa.Integer, nullable=False),  # answers lost on the way, perhaps charged
        sa.Column("n_input", sa.Integer),  # tokens; empty where the server did not say
        sa.Column("n_output", sa.Integer),
        sa.Column("usd", sa.Float),  # empty where tokens or price are unknown
        sa.Column("seconds", sa.Float, nullable=False),  # of the last attempt
        sa.Column("error", sa.Text, nullable=False),  # empty for an answered call
    )
    op.create_index("ix_endpoint_calls_key", "endpoint_calls", ["key"])
