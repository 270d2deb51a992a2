"""Styles of what is said to a person, apart from the words: a name that has brackets in it is printed as it is.

A styled text carries Unicode noncharacters, which are for use inside a process and stand in no file; the console turns
them into styles and takes all else literally.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = ("bold", "dim", "green", "yellow", "red")
_END = "\ufdd0"
_BEGIN = {style: chr(ord(_END) + 1 + i) for i, style in enumerate(_STYLES)}
_MARK = re.compile(f"([{_END}-{_BEGIN[_STYLES[-1]]}])")


def bold(text: object) -> str:
    """What the sentence is about."""
    return _styled(text, "bold")


def dim(text: object) -> str:
    """What may be passed over."""
    return _styled(text, "dim")


def green(text: object) -> str:
    """What is well."""
    return _styled(text, "green")


def yellow(text: object) -> str:
    """What wants attention."""
    return _styled(text, "yellow")


def red(text: object) -> str:
    """What failed."""
    return _styled(text, "red")


def warning(text: object) -> str:
    """A sentence behind a yellow mark."""
    return f"{yellow('!')} {text}"


def rendered(text: str) -> Text:
    """The text with its styles, for the console."""
    from rich.text import Text

    shown, styles = Text(), ["none"]
    for part in _MARK.split(text):
        if part == _END:
            styles = styles[:-1] or ["none"]
        elif _MARK.fullmatch(part):
            styles.append(_STYLES[ord(part) - ord(_END) - 1])
        else:
            shown.append(part, style=" ".join(styles[1:]) or None)
    return shown


def _styled(text: object, style: str) -> str:
    return f"{_BEGIN[style]}{text}{_END}"
