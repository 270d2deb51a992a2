"""The tables of the ratings, as SQLAlchemy reads them; the numbered migrations alone make and change them.

`ratings` and `study_shows` are append-only, which triggers enforce. `study_slots.state` repeats what the newest rating
of a slot says, so that finding the next slot costs one look.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),  # pairwise | likert | audit
    Column("split", String(16), nullable=False),  # of every prompt in it
    Column("question", Text, nullable=False),
    Column("design", JSON, nullable=False),  # the file, resolved
    Column("declaration", String(64), nullable=False),  # digest of the design, before any rating
    Column("criteria", JSON, nullable=False),
    Column("provenance", JSON, key="lineage", nullable=False),  # runs and digests that the items come from
    Column("plan", Text, nullable=False),  # the power sentence
    Column("n_population", Integer, nullable=False),  # prompts that the sample was drawn from
    Column("created_at", Float, nullable=False),  # times are seconds since 1970, UTC
    Column("closed_at", Float),
    Column("open_hash", String(64), unique=True),  # of a crowd's one open link
)

raters = Table(
    "study_raters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("is_rehearsal", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float),
    Column("revoked_at", Float),
    Column("person", String(64)),  # crowd: digest of who they are elsewhere, so that coming again goes on
    Column("arrival", JSON),  # crowd: language, consent, answers, what the site that sent them calls them
    UniqueConstraint("study_id", "name"),
    UniqueConstraint("study_id", "person"),
)

items = Table(
    "study_items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("purpose", String(16), nullable=False),  # main | attention | practice
    Column("prompt_id", Text, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("scene", JSON, nullable=False),  # messages
    Column("replies", JSON, nullable=False),  # one or two of {variant, draw, text}
    Column("probability", Float),  # with which its prompt was drawn; main items only
    Column("rank", Integer, nullable=False),  # of its prompt in the order that all raters share
)

slots = Table(
    "study_slots",
    metadata,
    Column("id", String(24), primary_key=True),  # random: says nothing of the item
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("item_id", ForeignKey("study_items.id"), nullable=False, index=True),
    Column("rater_id", ForeignKey("study_raters.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # main | repeat | attention | practice
    Column("position", Integer, nullable=False),  # in the rater's order
    Column("is_flipped", Boolean, nullable=False),  # the item's second reply stands left
    Column("state", String(16), nullable=False),  # pending | rated | skipped | released
    Column("leased_until", Float),
    UniqueConstraint("rater_id", "position"),
)

shows = Table(
    "study_shows",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("slot_id", ForeignKey("study_slots.id"), nullable=False, index=True),
    Column("rater_id", ForeignKey("study_raters.id"), nullable=False),
    Column("is_flipped", Boolean, nullable=False),
    Column("shown_at", Float, nullable=False),
)

ratings = Table(
    "ratings",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("slot_id", ForeignKey("study_slots.id"), nullable=False, index=True),
    Column("rater_id", ForeignKey("study_raters.id"), nullable=False),
    Column("key", String(80), nullable=False),  # idempotency key
    Column("action", String(16), nullable=False),  # vote | change | skip | undo
    Column("verdict", String(16)),  # left | right | tie | both_bad, as seen
    Column("marks", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("comment", Text, nullable=False, server_default=""),
    Column("shown_at", Float, nullable=False),
    Column("cast_at", Float, nullable=False),
    Column("is_rehearsal", Boolean, nullable=False),
    # The rating that this one follows on the same slot: each is followed once, so a slot has one newest rating.
    Column("supersedes", ForeignKey("ratings.id"), unique=True),
    UniqueConstraint("rater_id", "key"),
)
