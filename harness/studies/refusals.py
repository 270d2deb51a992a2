"""Why a rater's request is refused: named, so that a page can say what to do; nothing is stored and nothing is lost."""

from __future__ import annotations

from harness.errors import InputError


class RatingRefused(InputError):
    """Base of every refusal; what was stored before stays as it is."""


class UnknownLinkError(RatingRefused):
    """No rater has this link."""


class RevokedLinkError(RatingRefused):
    """The link was withdrawn, or replaced by a newer one."""


class StudyClosedError(RatingRefused):
    """The study takes no more ratings."""


class NotAssignedError(RatingRefused):
    """The slot is not this rater's, or there is none of that name."""


class TakenOverError(RatingRefused):
    """The rater was away for longer than the lease and somebody else has the item now."""


class OutOfOrderError(RatingRefused):
    """The slot has not been shown yet, or is not the one that is due."""


class AlreadyRatedError(RatingRefused):
    """The slot has its rating; only a change or an undo can follow."""


class KeyReusedError(RatingRefused):
    """An idempotency key came again with another rating under it."""


class InvalidRatingError(RatingRefused):
    """The rating does not fit what was shown: a verdict for marks, a mark off the scale, a skip without reason."""


class TooManySkipsError(RatingRefused):
    """The rater has skipped as many items as the study allows."""


class CrowdFullError(RatingRefused):
    """A crowd study has all the people it asked for."""
