"""Studies, raters, items, slots, what was shown, and ratings that are only ever added to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

APPEND_ONLY = ("ratings", "study_shows")


def upgrade() -> None:
    """Make the tables, and the triggers that refuse to change or remove a rating."""
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("design", sa.JSON, nullable=False),
        sa.Column("declaration", sa.String(64), nullable=False),
        sa.Column("criteria", sa.JSON, nullable=False),
        sa.Column("provenance", sa.JSON, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("n_population", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("closed_at", sa.Float),
    )
    op.create_table(
        "study_raters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("is_rehearsal", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.UniqueConstraint("study_id", "name"),
    )
    op.create_table(
        "study_items",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), nullable=False, index=True),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("prompt_id", sa.Text, nullable=False),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("scene", sa.JSON, nullable=False),
        sa.Column("replies", sa.JSON, nullable=False),
        sa.Column("probability", sa.Float),
        sa.Column("rank", sa.Integer, nullable=False),
    )
    op.create_table(
        "study_slots",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), nullable=False, index=True),
        sa.Column("item_id", sa.Integer, sa.ForeignKey("study_items.id"), nullable=False, index=True),
        sa.Column("rater_id", sa.Integer, sa.ForeignKey("study_raters.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("is_flipped", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("leased_until", sa.Float),
        sa.UniqueConstraint("rater_id", "position"),
    )
    op.create_table(
        "study_shows",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("slot_id", sa.String(24), sa.ForeignKey("study_slots.id"), nullable=False, index=True),
        sa.Column("rater_id", sa.Integer, sa.ForeignKey("study_raters.id"), nullable=False),
        sa.Column("is_flipped", sa.Boolean, nullable=False),
        sa.Column("shown_at", sa.Float, nullable=False),
    )
    op.create_table(
        "ratings",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("slot_id", sa.String(24), sa.ForeignKey("study_slots.id"), nullable=False, index=True),
        sa.Column("rater_id", sa.Integer, sa.ForeignKey("study_raters.id"), nullable=False),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("marks", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("shown_at", sa.Float, nullable=False),
        sa.Column("cast_at", sa.Float, nullable=False),
        sa.Column("is_rehearsal", sa.Boolean, nullable=False),
        sa.Column("supersedes", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.ForeignKey("ratings.id")),
        sa.UniqueConstraint("rater_id", "key"),
        sa.UniqueConstraint("supersedes"),
    )
    first_of_slot = sa.text("supersedes IS NULL")
    op.create_index(
        "ix_ratings_first_of_slot",
        "ratings",
        ["slot_id"],
        unique=True,
        sqlite_where=first_of_slot,
        postgresql_where=first_of_slot,
    )
    for table in APPEND_ONLY:
        _refuse_changes(table)


def _refuse_changes(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION {table}_append_only() RETURNS trigger AS $$ BEGIN "
            f"RAISE EXCEPTION '{table} is append-only'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_append_only()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
