"""A study in sentences, for the results page, the terminal and a paper: what people preferred, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from harness.reporting.numbers import Written, write_count, write_estimate, write_list
from harness.stats import RaterClaims
from harness.studies.results import PairResult, StudyResults
from harness.studies.studies import LEFT_OUT, SILENT
from harness.studies.tally import Outcome
from harness.types import Estimate, Grain

WIDE = 0.9  # of all that is possible: an interval as wide says nothing
_OTHERS: tuple[tuple[Outcome, str], ...] = (
    ("opponent", "{opponent} on {n}"),
    ("tie", "neither on {n} (equally good)"),
    ("split", "no majority on {n}"),
    ("both_bad", "both bad on {n}"),
)


def preferred(pair: PairResult) -> str:
    """The one sentence: prompts by majority, each outcome named as what it is; empty before the first."""
    counts, share = pair.tally, pair.tally.preferred
    if share is None:
        return ""
    of = write_estimate(share, unit="share").effect
    others = [
        words.format(opponent=pair.opponent, n=counts.n(outcome))
        for outcome, words in _OTHERS
        if counts.n(outcome) or outcome == "opponent"
    ]
    return (
        f"Most raters preferred {pair.variant} on {counts.n('variant')} of {write_count(share.n, 'prompt')} ({of}), "
        f"{write_list(others)}."
    )


def mean_vote(pair: PairResult) -> str:
    """The mean of votes, with what it counts and what the brackets are."""
    written = write_estimate(pair.look.estimate, unit="share")
    return (
        f"The average vote for {pair.variant} is {written.effect}; a tie or both bad counts half, 50\u00a0% is no "
        f"preference. Brackets are {written.level} intervals; they hold however often you look, and speak of these "
        "raters and of prompts like these."
    )


def next_step(pair: PairResult) -> str:
    """Whether it is decided, and what to do now."""
    is_decided, is_done = pair.look.advice.action == "stop", pair.n_waiting == 0
    if is_decided:
        said = "It is decided for these raters"
        if not pair.is_open:
            return f"{said}."
        return f"{said}, and all is rated: close the study." if is_done else f"{said}; you can stop here."
    if is_done or not pair.is_open:
        return f"It is not decided, and {'all is rated' if is_done else 'the study is closed'}. {pair.reason}"
    return f"It is not decided yet: let them go on. {pair.reason}"


def waiting(pair: PairResult) -> str:
    """Before the first prompt is complete."""
    return f"No prompt has been rated by its whole panel yet; {write_count(pair.n_waiting, 'prompt')} to go."


def dropped(found: StudyResults) -> str:
    """Prompts that nobody was asked about, since a variant gave no reply; empty where there are none."""
    n = found.study.lineage.get(LEFT_OUT, 0)
    if isinstance(n, Mapping):  # of a file that was imported
        return f"Left out of the file: {', '.join(f'{why}: {k}' for why, k in n.items())}." if n else ""
    if not n:
        return ""
    silent = {name: k for name, k in dict(found.study.lineage.get(SILENT, {})).items() if k}
    whose = f" ({', '.join(f'{name}: {k}' for name, k in silent.items())})" if silent else ""
    return (
        f"{write_count(n, 'prompt')} had no reply of some variant{whose} and {'was' if n == 1 else 'were'} not rated: "
        "a model that says nothing is not held against it here."
    )


def counted(found: StudyResults) -> str:
    """Ratings, waiting, skipped, rehearsal."""
    return (
        f"{write_count(found.n_rated, 'rating')} {'counts' if found.n_rated == 1 else 'count'}; "
        f"{found.n_waiting:,} are waited for, {found.n_skipped:,} were skipped, {found.n_rehearsal:,} were given in "
        "rehearsal and count nowhere."
    )


def says_nothing(estimate: Estimate, *, span: float | None) -> bool:
    """Whether an interval holds nearly all that is possible (`span`), or, where all is possible, lost its measure."""
    if estimate.low is None or estimate.high is None:
        return True
    width = estimate.high - estimate.low
    return width > WIDE * span if span is not None else width > 10


def too_few(found: StudyResults) -> str:
    """Said once, in place of every interval that says nothing about other raters."""
    n = len([rater for rater in found.raters if not rater.is_rehearsal])
    return (
        f"{write_count(n, 'rater')} {'is' if n == 1 else 'are'} too few to say what others like them would answer: the "
        "intervals hold nearly everything. More raters help here, more prompts do not."
    )


def methods(found: StudyResults) -> str:
    """The paragraph for a paper."""
    study, design = found.study, found.study.design
    n_raters = sum(not rater.is_rehearsal for rater in found.raters)
    n_out = sum(rater.is_excluded for rater in found.raters if not rater.is_rehearsal)
    did = {"likert": "marked single replies", "ranking": "ranked the replies of all variants"}.get(
        study.kind, "compared two replies"
    )
    told = [
        f"{write_count(n_raters, 'rater')} {did} to each prompt, {design.per_prompt} to a prompt, blind to which "
        f"system wrote them, with sides and order randomised (question: “{design.question}”).",
        study.plan,
        f"Prompts are a simple random sample of {study.n_population:,}. Question, sample size, checks and exclusion "
        f"rules were fixed before the first rating (declaration {study.declaration[:12]}).",
        f"Each rater met {write_count(design.attention, 'attention check')}, and {design.repeats:.0%} of the items "
        f"twice; {write_count(n_out, 'rater')} {'was' if n_out == 1 else 'were'} excluded by the declared rules.",
        counted(found),
        dropped(found),
        "Vote shares carry betting confidence sequences over prompt means (Waudby-Smith and Ramdas 2024), valid at "
        "every look; ties and “both bad” count half." if study.kind != "likert" else "",
    ]  # fmt: skip
    return " ".join(filter(None, told))


def marked(criterion: str, variant: str, opponent: str, claims: RaterClaims) -> str:
    """The difference of marks, about these raters."""
    written = write_estimate(claims.panel.estimate, unit="points", is_difference=True)
    return f"On {criterion}, these raters mark {variant} {written.effect} against {opponent}."


def figure_rows(pair: PairResult) -> list[tuple[str, Written]]:
    """Of a publication's table: what, and its value."""
    shown = [(f"Prompts on which most raters preferred {pair.variant}", pair.tally.preferred, Grain.PROMPT)]
    shown += [(f"Mean vote for {pair.variant} against {pair.opponent}", pair.look.estimate, Grain.PROMPT)]
    if pair.win is not None:
        shown += [(f"Decisive votes for {pair.variant}", pair.win.decisive, Grain.RATING)]
        shown += [
            ("Ties, of votes", pair.win.ties, Grain.RATING),
            ("Both bad, of votes", pair.win.both_bad, Grain.RATING),
        ]
    return [(what, write_estimate(e, unit="share", grain=grain)) for what, e, grain in shown if e]
