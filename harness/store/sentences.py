"""What SQLAlchemy, MLflow, HTTP and the system say of a store, as one sentence: thing, rule, what arrived, what to do."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

from harness.errors import UnavailableError

_LIMIT = 300  # characters of a reason: some servers answer with a page
_ADVICE = (  # the first pattern that is found in the reason; none, no advice
    ("not a database|malformed", "it is another kind of file or damaged: name another, or put a backup in its place"),
    ("disk is full|No space left|quota", "free some space; the same command then goes on"),
    ("readonly|Read-only|Permission denied|not permitted", "let it be written, or set `SCREENTEST_HOME` to a folder of yours"),
    ("database is locked", "another program holds it: wait until that has finished"),
    ("unable to open|Not a directory|File exists|Is a directory", "name a file in a folder that can be made"),
    ("No module named|load plugin", "install the database's driver, e.g. pip install 'screentest[postgres]', "
     "and name it in the address: postgresql+psycopg://…"),
    ("refused|timed? ?out|resolve|resolution|unreachable|not known|reset|closed", "start the server, or correct the address"),
)  # fmt: skip


@contextlib.contextmanager
def telling(store: str, *, rule: str = "a store that answers") -> Iterator[None]:
    """Say in one sentence what goes wrong with a store; what it said itself is kept as the cause.

    What MLflow says of something in the store that is not there, or there already, is an answer and passes.

    Raises:
        UnavailableError: the store, its file, its server or its driver is not what it must be.
    """
    try:
        yield
    except store_errors() as err:
        if is_answer(err):
            raise
        raise unavailable(store, err, rule=rule) from err


def unavailable(store: str, err: BaseException, *, rule: str = "a store that answers") -> UnavailableError:
    """The sentence of an error."""
    reason = reason_of(err)
    advice = next((f"; {what}" for pattern, what in _ADVICE if re.search(pattern, reason, re.IGNORECASE)), "")
    return UnavailableError(f"`{store}` must be {rule}: {reason}{advice}")


def is_answer(err: BaseException) -> bool:
    """Whether MLflow answered: the thing asked for is not there, there already, or asked for wrongly."""
    return getattr(err, "error_code", None) in (
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "INVALID_PARAMETER_VALUE",
    )


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
    """The innermost words of an error on one line, without SQL, classes of exceptions and passwords."""
    if isinstance(err, OSError) and err.strerror:
        words = err.strerror
    else:
        words = re.split(r"\n\[SQL|\n\(Background", str(err))[0] or type(err).__name__
    words = re.sub(r"^\([\w.]+\) ", "", words)  # (sqlite3.OperationalError)
    if caused := re.findall(r"Caused by \w+\([^:]*: (.*?)'?\)", words):  # what requests tells of urllib3
        words = re.sub(r"^\w*<?.*?> ?|^\[Errno -?\d+\] ", "", caused[-1]).strip("\"')(")
    words = re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", words)
    return " ".join(words.split())[:_LIMIT]
