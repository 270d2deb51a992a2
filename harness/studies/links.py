"""Links of raters and the owner's secret: random, compared as hashes in constant time, never logged.

A token is 128 random bits, so that a plain sha256 of it may be stored: there is no guessing it from the hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection, Executable, bindparam, select, update

from harness.errors import ConfigError
from harness.studies.refusals import RevokedLinkError, StudyClosedError, UnknownLinkError
from harness.studies.sql_schema import raters, studies
from harness.studies.study_design import CrowdDesign

JOIN = "join"  # of a crowd's open link
OWNER_VARIABLE = "SCREENTEST_OWNER_SECRET"
TOKEN_BYTES = 16
MIN_SECRET = 16  # characters
QUERY, TAG = "rater", "link"  # of a link, and what stays in the address once its cookie is there
COOKIE = "screentest-"  # with the tag behind it: two links in one browser are two raters

_ENTRANT = (
    *(raters.c.id, raters.c.study_id, raters.c.name, raters.c.is_rehearsal, raters.c.revoked_at, raters.c.arrival),
    *(
        select(column).where(studies.c.id == raters.c.study_id).scalar_subquery().label(column.name)
        for column in (studies.c.closed_at, studies.c.design)
    ),
)
_MINE = raters.c.token_hash == bindparam("token")
_READ: Executable = select(*_ENTRANT).where(_MINE)
_NOTE = update(raters).where(_MINE).values(seen_at=bindparam("now")).returning(*_ENTRANT)  # locks, marks and reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A rater's way in. Shown once: the store keeps the hash alone."""

    rater: str
    token: str
    is_rehearsal: bool

    def __repr__(self) -> str:
        return f"Link(rater={self.rater!r}, token=…)"

    def url(self, base: str) -> str:
        """The address to send to the rater."""
        return f"{base.rstrip('/')}/?{urlencode({QUERY: self.token})}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLink:
    """A crowd's one way in, for everybody. Shown once, as a rater's is."""

    token: str

    def __repr__(self) -> str:
        return "OpenLink(token=…)"

    def url(self, base: str) -> str:
        """The address to publish; a site that sends people adds what it calls them."""
        return f"{base.rstrip('/')}/?{urlencode({JOIN: self.token})}"

    def person_token(self, person: str) -> str:
        """The key of one person, the same whenever they come again; who knows it not cannot make it from the digest."""
        mixed = hmac.new(
            self.token.encode("utf-8", "replace"), person.encode("utf-8", "replace"), hashlib.sha256
        ).digest()
        return base64.urlsafe_b64encode(mixed[:TOKEN_BYTES]).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """Who a link belongs to."""

    rater_id: int
    study_id: int
    name: str
    is_rehearsal: bool
    is_closed: bool  # the study
    design: Mapping[str, Any]  # as it was stored: an earlier version's may lack keys
    crowd: CrowdDesign | None  # came by the open link
    arrival: Mapping[str, Any]  # of one of a crowd: language, consent, answers, what the site that sent them said

    @property
    def has_agreed(self) -> bool:
        """Whether one of a crowd agreed to take part."""
        return "agreed_at" in self.arrival

    @property
    def lease_seconds(self) -> float:
        """How long an item waits for them."""
        return 60 * float(self.design["lease_minutes"])


def mint(rater: str, *, is_rehearsal: bool) -> Link:
    """A new link."""
    return Link(rater=rater, token=secrets.token_urlsafe(TOKEN_BYTES), is_rehearsal=is_rehearsal)


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def link_tag(token: str) -> str:
    """What tells one link of a browser from another, and opens nothing."""
    return hash_token(token)[:12]


def enter(connection: Connection, token: str, *, now: float | None) -> Entrant:
    """The rater behind a token, noted as here at `now`, which makes their other requests wait for this transaction.

    Without `now` they are only looked up, those of a closed study too.

    Raises:
        UnknownLinkError, RevokedLinkError: the link leads nowhere.
        StudyClosedError: the study is closed, and there is a `now`.
    """
    query, values = (_READ, {}) if now is None else (_NOTE, {"now": now})
    row = connection.execute(query, {"token": hash_token(token), **values}).one_or_none()
    if row is None:
        raise UnknownLinkError("`rater` must be a link of a study, got one that nobody has; ask its owner for yours")
    if row.revoked_at is not None:
        raise RevokedLinkError("`rater` must be a link in use, got one that was withdrawn; ask the owner for a new one")
    if now is not None and row.closed_at is not None:
        raise StudyClosedError("the study is closed: every rating given before is kept, and no more are taken")
    return Entrant(
        rater_id=row.id,
        study_id=row.study_id,
        name=row.name,
        is_rehearsal=row.is_rehearsal,
        is_closed=row.closed_at is not None,
        design=row.design,
        crowd=None if row.arrival is None else CrowdDesign.model_validate(row.design["crowd"]),
        arrival=row.arrival or {},
    )


def is_owner(given: str) -> bool:
    """Whether this is the owner's secret; takes as long for a near miss as for a far one.

    Raises ConfigError: no secret is set, or one that can be guessed.
    """
    secret = os.environ.get(OWNER_VARIABLE, "")
    if len(secret) < MIN_SECRET:
        what = "none" if not secret else f"{len(secret)} characters"
        raise ConfigError(
            f"`{OWNER_VARIABLE}` must hold at least {MIN_SECRET} characters before owner pages open, got {what}; "
            "set it in the environment, e.g. to the output of `openssl rand -hex 16`"
        )
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, secret))
    return hmac.compare_digest(*digests)
