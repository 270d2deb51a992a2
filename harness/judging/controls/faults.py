"""Faults planted in a true reply: each function returns the faulty text, or None where the text offers no place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STOCK_REPLY = "I don't know."
GENERIC_REPLIES = (  # what an assistant says to anyone about anything
    "That's a great question! I'd be happy to help you with that.",
    "Thank you for sharing that with me. How can I help you today?",
    "I understand how you feel. Let me know if there is anything else you need.",
    "I'm sorry to hear that. Is there anything I can do to help?",
    "That sounds really interesting! Please tell me more about it.",
    "It is important to consider both sides before making a decision.",
)
MIN_LETTERS = 4  # a word shorter than this cannot be scrambled beyond recognition
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_N_DRAWS = 20  # attempts at a permutation that really differs


def words(text: str) -> list[str]:
    """The text split at white space."""
    return text.split()


def same_words(left: str, right: str) -> bool:
    """Whether two texts are equal but for case, punctuation and spacing."""
    return _letters(left) == _letters(right)


def shuffled_words(text: str, *, rng: np.random.Generator) -> str | None:
    """The same words in another order."""
    parts = words(text)
    for _ in range(_N_DRAWS):
        shuffled = [parts[i] for i in rng.permutation(len(parts))]
        if [p.casefold() for p in shuffled] != [p.casefold() for p in parts]:
            return " ".join(shuffled)
    return None


def corrupted_word(text: str, *, rng: np.random.Generator) -> str | None:
    """One word of at least four letters with its letters scrambled; everything else stays."""
    places = [found for found in _WORD.finditer(text) if len(found[0]) >= MIN_LETTERS]
    for i in rng.permutation(len(places)):
        word = places[i][0]
        for _ in range(_N_DRAWS):
            letters = "".join(word.lower()[j] for j in rng.permutation(len(word)))
            if letters != word.lower():
                cased = letters.capitalize() if word[0].isupper() else letters
                return text[: places[i].start()] + cased + text[places[i].end() :]
    return None


def looped(text: str, *, n_words: int = 3, n_times: int = 5) -> str | None:
    """The reply's opening phrase over and over, as a model does that has lost its way."""
    return " ".join(words(text)[:n_words] * n_times) or None


def cut_off(text: str) -> str | None:
    """The first half of the reply, ended inside a word where the last one is long enough to show it."""
    parts = words(text)
    if len(parts) < 4:
        return None
    kept = parts[: (len(parts) + 1) // 2]
    last = kept[-1].rstrip(".,;:!?\"')-")
    kept[-1] = last[: (len(last) + 1) // 2] if len(last) >= MIN_LETTERS else last
    return " ".join(kept).rstrip(".,;:!? ")


def wrong_number(text: str, said: str) -> str | None:
    """The reply with one of its numbers changed, one that stands in what was said: there it is plainly another."""
    given = set(_NUMBER.findall(said))
    for found in _NUMBER.finditer(text):
        others = (found[0][:-1] + str((int(found[0][-1]) + more) % 10) for more in range(1, 10))
        if found[0] in given and (other := next((number for number in others if number not in given), None)):
            return text[: found.start()] + other + text[found.end() :]
    return None


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()
