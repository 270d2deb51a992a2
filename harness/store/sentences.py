"""What SQLAlchemy, MLflow, HTTP and the system say of a store, as one sentence with advice."""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
from collections.abc import Iterator

from harness.errors import UnavailableError

_ANSWERS = ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE")
_LIMIT = 300  # characters of a reason: some servers answer with a page
_ADVICE = (  # the first pattern that is found in the reason; none, no advice
    ("not a database|malformed", "it is another kind of file or damaged: name another, or put a backup in its place"),
    ("disk is full|No space left|quota", "free some space; the same command then goes on"),
    ("readonly|Read-only", "let it be written, or set `SCREENTEST_HOME` to a folder of yours"),
    ("denied|not permitted", "give this account the right to it, or name another place"),
    ("locate revision", "a newer Screentest wrote it: use that one, or name another"),
    ("database is locked", "another program holds it: wait until that has finished"),
    (
        "unable to open|Not a directory|File exists|Is a directory",
        "name a file in a folder that can be made and written",
    ),
    ("No module named|load plugin", "install its driver, or name another; PostgreSQL is postgresql+psycopg://…"),
    ("refused|timed? ?out|resolve|unreachable|not known|reset|closed", "start the server, or correct the address"),
)


@contextlib.contextmanager
def telling(store: str, *, rule: str = "a store that answers", passes_answers: bool = False) -> Iterator[None]:
    """Say in one sentence what goes wrong with a store; what it said itself is kept as the cause.

    `passes_answers` lets through what MLflow says of a thing that is not there, there already, or asked for wrongly.

    Raises:
        UnavailableError: the store, its file, its server or its driver is not what it must be.
    """
    try:
        yield
    except store_errors() as err:
        if passes_answers and getattr(err, "error_code", None) in _ANSWERS:
            raise
        raise unavailable(store, err, rule=rule) from err


def unavailable(store: str, err: BaseException, *, rule: str = "a store that answers") -> UnavailableError:
    """The sentence of an error."""
    reason = reason_of(err)
    advice = next((f"; {what}" for pattern, what in _ADVICE if re.search(pattern, reason, re.IGNORECASE)), "")
    return UnavailableError(f"`{store}` must be {rule}: {reason}{advice}")


def store_errors() -> tuple[type[BaseException], ...]:
    """What the libraries raise that are in use; none is imported for this."""
    named = (
        ("mlflow.exceptions", "MlflowException"),
        ("sqlalchemy.exc", "SQLAlchemyError"),
        ("alembic.util.exc", "CommandError"),
        ("requests.exceptions", "RequestException"),
    )
    found = [getattr(sys.modules[module], name) for module, name in named if module in sys.modules]
    return (OSError, ImportError, *found)


def reason_of(err: BaseException) -> str:
    """The innermost words of an error on one line, without SQL, pages, classes of exceptions and passwords."""
    words = str(err) or type(err).__name__
    if isinstance(err, OSError) and err.strerror:
        words = err.strerror + (f" ({err.filename})" if err.filename else "")
    words = re.split(r"\n\[SQL|\n\(Background|\.? Response body: '?\s*<", words)[0]
    words = re.sub(r"^\([\w.]+\) ", "", words)  # (sqlite3.OperationalError)
    if caused := re.search(r"Caused by \w+\((?:\d+, )?(.*)\)", words, re.DOTALL):  # what requests tells of urllib3
        words = re.sub(r"^['\"]?\w*\(.*?\): ", "", caused[1].removesuffix(")")).strip("'\"")
    words = re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", words)
    return textwrap.shorten(words, _LIMIT, placeholder=" …")
