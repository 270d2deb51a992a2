"""Measures against a reference: is the reply right, how near does it come, and is it of the form that was asked for?

A reply that is empty or was refused is a wrong one, 0; one that failed on the way is missing, as is one whose prompt
has no reference. Published measures are the libraries' own (sacrebleu, rouge-score, rapidfuzz).
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from harness.measures.measure import Measure
from harness.types import SmallestEffect

if TYPE_CHECKING:
    from harness.models.encoder import Encoder

REVISION = 1  # raise when a function here would give other values
_EAST_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # written without spaces: a sign is a word
_TOKEN = re.compile(
    rf"(?<![\w.])[-−]?\d+(?:[.,:/]\d+)*|[{_EAST_ASIAN}]|[^\W{_EAST_ASIAN}]+(?:['’][^\W{_EAST_ASIAN}]+)*"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARTICLES = ("a", "an", "the")
_FENCE = re.compile(r"\s*```[\w+-]*[ \t]*\n(.*?)\n?\s*```\s*", re.DOTALL)
_LEAD = re.compile(r"^\s*(?:the\s+)?(?:label|class|category|answer|sentiment)\s*(?:is\s*:?|[:=])\s*", re.IGNORECASE)


def normalised(text: str) -> tuple[str, ...]:
    """Lower-cased words and numbers, without articles and punctuation, as SQuAD's script has them (1606.05250).

    Where we deviate: signs, decimal points and East Asian text are kept apart, so that -5 is not 5, 3.5 not 35; and an
    answer of articles or punctuation alone ("A", "!=") stays what it is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    tokens = [_THOUSANDS.sub("", token) for token in _TOKEN.findall(plain)]
    kept = [token for token in tokens if token not in _ARTICLES]
    return tuple(kept or tokens or plain.split())


def exact_match(reply: str, reference: str) -> bool:
    """The reply is the reference, but for case, articles and punctuation."""
    return normalised(reply) == normalised(reference)


def token_f1(reply: str, reference: str) -> float:
    """Words that reply and reference share: harmonic mean of precision and recall, as in SQuAD."""
    return _f1(Counter(normalised(reply)), Counter(normalised(reference)))


def code_match(reply: str, reference: str) -> bool:
    """The same code or query, but for white space, a code fence around it, a last semicolon and letter case."""
    one, other = (" ".join(unfenced(text).split()).rstrip("; ").casefold() for text in (reply, reference))
    return one == other


def accuracy(reply: str, reference: str) -> bool:
    """The first line of the reply is the label, with or without `Label:` before it."""
    lines = [line for line in reply.splitlines() if line.strip()]
    return normalised(_LEAD.sub("", lines[0]) if lines else "") == normalised(reference)


def chrf(reply: str, reference: str) -> float:
    """Character n-gram F score of a reply (chrF2, Popović 2015), by sacrebleu."""
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(reply, [reference]).score) / 100


def bleu(reply: str, reference: str) -> float:
    """BLEU-4 of single replies (Papineni et al. 2002), by sacrebleu with the orders that a reply has.

    Their mean is no corpus BLEU, and has an interval.
    """
    score = _bleu("zh" if re.search(f"[{_EAST_ASIAN}]", reference) else "13a")
    return min(1.0, float(score(reply, [reference]).score) / 100)


def rouge_l(reply: str, reference: str) -> float:
    """Longest common subsequence of words, F score (ROUGE-L, Lin 2004), by rouge-score; any script's words count."""
    return float(_rouge()(reference, reply))


def edit_similarity(reply: str, reference: str) -> float:
    """1 − Levenshtein distance / the longer length, in characters, by rapidfuzz."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_similarity(reply.strip(), reference.strip()))


def embedding_similarity(reply: str, reference: str) -> float:
    """Cosine of reply and reference as the embedded encoder reads them (all-MiniLM-L6-v2, made for English)."""
    one, other = _encoder().encode([reply, reference])
    return float(one @ other)


def json_valid(reply: str) -> bool:
    """The reply is JSON and nothing else; a code fence around it is allowed."""
    return read_json(reply) is not _NO_JSON


def field_f1(reply: str, reference: str) -> float | None:
    """Fields of the reference's JSON that the reply has with the same value, and no others: F1 over leaves.

    Texts are compared without outer spaces and case, numbers by value, the entries of a list in any order.
    """
    wanted = read_json(reference)
    if not isinstance(wanted, dict | list):
        return None
    got = read_json(reply)
    return 0.0 if got is _NO_JSON else _f1(Counter(_leaves(got)), Counter(_leaves(wanted)))


def unfenced(text: str) -> str:
    """A text without the code fence around it."""
    found = _FENCE.fullmatch(text)
    return (found[1] if found else text).strip()


_NO_JSON = object()


def read_json(text: str) -> Any:
    """The JSON value that a text is, in a code fence or without; `_NO_JSON` where it is none."""
    try:
        return json.loads(unfenced(text), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NO_JSON


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for part in value:
            yield from _leaves(part, f"{path}/[]")
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        yield path, repr(float(value)) if is_number else str(value).strip().casefold() + f" {type(value).__name__}"


def _f1(got: Counter[Any], wanted: Counter[Any]) -> float:
    shared = (got & wanted).total()
    return 2 * shared / (got.total() + wanted.total()) if got or wanted else 1.0


@functools.cache
def _bleu(tokenize: str) -> Callable[[str, list[str]], Any]:
    from sacrebleu.metrics.bleu import BLEU

    score: Callable[[str, list[str]], Any] = BLEU(effective_order=True, tokenize=tokenize).sentence_score
    return score


@functools.cache
def _encoder() -> Encoder:
    from harness.models.encoder import load_encoder

    return load_encoder()


class _Words:
    """Words of any script, for rouge-score, whose own are ASCII."""

    def tokenize(self, text: str) -> list[str]:
        return _TOKEN.findall(text.casefold())


@functools.cache
def _rouge() -> Callable[[str, str], float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    return lambda reference, reply: scorer.score(reference, reply)["rougeL"].fmeasure


def _measure(
    function: Callable[..., Any],
    label: str,
    *,
    does: str = "",
    effect: float = 0.05,
    is_rate: bool = True,
    unit: str = "share",
) -> Measure:
    """`does` is what a better variant does more often."""
    name = function.__name__
    return Measure(
        name=name,
        label=label,
        unit=unit,
        better="higher",
        description=(function.__doc__ or "").split("\n\n")[0],
        phrase=(f"{does} more often", f"{does} less often") if does else None,
        origin="replies",
        is_rate=is_rate,
        silence=0.0,
        smallest_effect=SmallestEffect(value=effect, unit="share" if is_rate else "points"),
        function=function,
        address=f"{__name__}:{name}",
        code=f"{name} {REVISION}",
    )


MEASURES = (
    _measure(exact_match, "Right answers", does="gives the right answer"),
    _measure(token_f1, "Token F1"),
    _measure(code_match, "Right code", does="writes the right code"),
    _measure(accuracy, "Accuracy", does="is right"),
    _measure(json_valid, "Valid JSON", does="answers in valid JSON"),
    _measure(field_f1, "Field F1"),
    _measure(rouge_l, "ROUGE-L", effect=0.02),
    _measure(chrf, "chrF", effect=0.02),
    _measure(bleu, "BLEU", effect=0.02),
    _measure(edit_similarity, "Edit similarity", effect=0.02),
    _measure(embedding_similarity, "Embedding similarity", effect=0.02, is_rate=False, unit="cosine"),
)
