"""The error tree. Every error is one sentence that names the thing, the rule, what arrived and what to do.

ScreentestError                     exit code 1: something failed
├── InputError                      exit code 2: the caller gave something that cannot be used
│   ├── ConfigError                 a YAML file or an option
│   ├── CorpusError                 a corpus file, with its line
│   ├── RatingRefused               a rater's action that cannot be stored; its kinds are in harness/studies/refusals.py
│   └── SplitError                  data of one split where only another may stand
├── IntegrityError                  a digest that does not match: refuse, never repair silently
├── UnavailableError                the network, a hub, a device or an optional package is not there
├── BudgetError                     the next call could cost more than may be spent
├── JudgeError                      a judge cannot be used at all (one failed item is a missing Score instead)
└── StageError                      a stage could not finish
"""

from __future__ import annotations

from pathlib import Path


class ScreentestError(Exception):
    """Base of every error that Screentest raises on purpose."""

    exit_code = 1


class InputError(ScreentestError):
    """What the caller gave cannot be used; the message says which rule it breaks and what to do."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file or an option breaks a rule."""


class CorpusError(InputError):
    """A corpus file breaks its format."""

    def __init__(self, file: Path | str, reason: str, *, line: int | None = None) -> None:
        self.file = str(file)
        self.line = line
        self.reason = reason
        where = f"`{self.file}`" if line is None else f"`{self.file}` line {line}"
        super().__init__(f"{where}: {reason}")


class SplitError(InputError):
    """Data of one split reached a function that may only see another (TEST never trains)."""


class IntegrityError(ScreentestError):
    """A stored file does not have the digest that was recorded for it."""


class UnavailableError(ScreentestError):
    """Something outside this process is not there: network, hub, device, optional package."""


class BudgetError(ScreentestError):
    """The next call of an endpoint could cross the budget; what was answered so far is kept."""


class JudgeError(ScreentestError):
    """A judge cannot be used at all, e.g. its score tokens are not single tokens."""


class StageError(ScreentestError):
    """A stage could not finish; what it did so far is kept and the next call resumes."""
