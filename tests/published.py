"""Published human judgements through the product's own road: files as people would bring them, then figures.

The data are not part of the project. `SCREENTEST_HUMAN_RATINGS` names their folder; without it it is
`../shared/data/human-ratings` beside the checkout. `python tests/published.py` prints the tables of
docs/results/published.md, `python tests/published.py JUDGE…` that of docs/judges.md; `JUDGE@CORPUS` says what teaches
a learned one.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.experiment.session import Session
from harness.settings import Settings
from harness.store.database import open_database
from harness.store.tracking import Tracking
from harness.studies.imported import import_ratings
from harness.studies.imported_judge import import_judge
from harness.studies.validation import MarkValidation, validate_judge
from harness.types import JudgedItem, Message

FOLDER = Path(
    os.environ.get("SCREENTEST_HUMAN_RATINGS")
    or Path(__file__).resolve().parents[2] / "shared" / "data" / "human-ratings"
)
ABSENT = f"published ratings are not there: SCREENTEST_HUMAN_RATINGS names their folder, looked in {FOLDER}"

TOPICAL = {  # Chiang & Lee 2023, Table 2, G-Eval with automatic steps: Pearson over all replies, Kendall per dialogue
    "naturalness": (0.393, 0.358), "coherence": (0.468, 0.391),
    "engagingness": (0.549, 0.513), "groundedness": (0.311, 0.566),
}  # fmt: skip
SCALES = {"naturalness": (1, 3), "coherence": (1, 3), "engagingness": (1, 3), "groundedness": (0, 1)}
ALT_TEST = {  # arXiv 2501.10970: ε, alignment by the kind of marks, ω and ρ
    "wax": (0.1, "gemini_flash .38/.69 gemini_pro .50/.74 gpt-4o .50/.73 llama-31 .00/.57 gpt-4o-mini .00/.59 "
                 "mistral-v03 .00/.50"),
    "mtbench": (0.2, "gemini_flash .00/.72 gemini_pro .00/.76 gpt-4o .00/.77 llama-31 .00/.69 gpt-4o-mini .00/.74 "
                     "mistral-v03 .00/.68"),
    "10k_prompts": (0.15, "gemini_flash .31/.67 gemini_pro .08/.63 gpt-4o .69/.76 llama-31 .15/.67 gpt-4o-mini .92/.80 "
                          "mistral-v03 .15/.67"),
    "cebab_stars": (0.1, "gemini_flash .60/.82 gemini_pro .80/.87 gpt-4o .90/.90 llama-31 .60/.85 gpt-4o-mini .90/.89 "
                         "mistral-v03 .50/.83"),
    "lesion": (0.15, "gemini_flash .17/.71 gemini_pro 1.00/.81 gpt-4o .00/.62 gpt-4o-mini .67/.73"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A store of its own, and the folder where files are written."""

    folder: Path
    session: Session

    @classmethod
    def at(cls, folder: Path) -> Home:
        return cls(folder=folder, session=Session(tracking=Tracking(_settings(folder))))

    @property
    def engine(self) -> Any:
        return open_database(_settings(self.folder).database_url)

    def write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        (file := self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file


def _settings(folder: Path) -> Settings:
    return Settings.from_environment({"SCREENTEST_HOME": str(folder / "mlruns")})


# ── Topical-Chat ─────────────────────────────────────────────────────────────────────────────────────────────────────


def replies() -> list[dict[str, Any]]:
    """The 360 replies with their dialogue's number and an id."""
    rows: list[dict[str, Any]] = json.loads((FOLDER / "topical-chat" / "topical_chat.json").read_text())
    dialogues: dict[str, int] = {}
    for row in rows:
        row["cluster"] = f"dialogue-{dialogues.setdefault(row['source'], len(dialogues))}"
    return rows


def samples(criterion: str, asked: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        (FOLDER / "topical-chat" / f"gpt3.5_{criterion[:3]}_{asked}.json").read_text()
    )
    return rows


def import_people(home: Home) -> None:
    """Mean marks of three people, one study with every criterion."""
    rows = [
        {"item": f"{r['cluster']}/{r['system_id']}", "rater": "mean of three", "criterion": name,
         "value": r["scores"][name], "scale": SCALES[name], "cluster": r["cluster"]}
        for r in replies() for name in TOPICAL
    ]  # fmt: skip
    import_ratings(home.engine, home.write("people.jsonl", rows), name="topical-chat")


def validated(home: Home, file: Path, judge: str, **how: Any) -> dict[str, MarkValidation]:
    """A judge's file held against the people of Topical-Chat, by criterion."""
    from harness.studies.studies import find_study

    study = find_study(home.engine, "topical-chat")
    made = import_judge(home.session, file, judge=judge, study=study, **how)
    found = validate_judge(home.session, home.engine, study, [made.stage.run_id])
    return {c.criterion: c.marks for c in found.criteria if c.marks is not None}


def chatgpt(home: Home, criterion: str, *, asked: str = "geval", reading: str = "ours") -> MarkValidation:
    """ChatGPT's released samples: read by our rule, those that are no score missing or 0, or by the authors' script."""
    places = {r["source"]: r["cluster"] for r in replies()}
    form = "rate-explain" if asked == "rate_explain" else "score"
    rows = []
    for row in samples(criterion, asked):
        item = f"{places[row['source']]}/{row['system_id']}"
        given = row["all_responses"]
        value: Any = given if reading == "ours" else float(np.mean([_read(text, criterion, reading) for text in given]))
        rows.append({"item": item, "cluster": places[row["source"]], "criterion": criterion, "value": value})
    file = home.write(f"{criterion}-{asked}-{reading}.jsonl", rows)
    scale = SCALES[criterion] if reading == "ours" else None
    return validated(home, file, f"chatgpt-{asked}-{reading}", scale=scale, form=form)[criterion]


def _read(text: str, criterion: str, reading: str) -> float:
    """0 for what is no score: by our rule, or by what the authors' script finds in it."""
    from harness.judging.reasoned import read_said

    if reading == "zero":
        said = read_said(text, [str(s) for s in range(SCALES[criterion][0], SCALES[criterion][1] + 1)], form="score")
        return 0.0 if said is None else float(said.score)
    plain = text.lower().replace("\n", " ").replace("1-3", " ").split("rating:")[-1]
    first = re.search(r"\d", plain)  # which their replacements come to: of "2.5" it is the 2, of a fact's "1993" the 1
    return float(first[0]) if first else 0.0


# Ours by the name that people were asked about there.
ASKED = {"naturalness": "fluency", "coherence": "coherence", "engagingness": "relevance", "groundedness": "consistency"}


def own_judge(home: Home, named: str, criteria: Sequence[str] = ()) -> dict[str, MarkValidation]:
    """A judge of ours on the 360 replies: its scores on each criterion beside what people were asked."""
    from harness.experiment.judges.judge_uses import judge_of, judge_use
    from harness.experiment.judges.teaching import taught_on
    from harness.judging import load_judge_spec
    from pipelines.corpus.prepare import PrepareConfig, prepare_stage

    folder, _, corpus = named.partition("@")
    spec = load_judge_spec(Path(folder))
    if spec.declared.is_taught:
        prepared = prepare_stage(home.session, PrepareConfig(corpus=corpus or "sample"))
        spec = taught_on(home.session, spec, prepared=prepared, judge=Path(folder), seed=7)
    wanted = tuple(c for c in spec.criteria if not criteria or c.name in criteria)
    judge = judge_of(home.session, judge_use(home.session, spec.model_copy(update={"criteria": wanted})))
    scores = judge.score(_items())
    theirs = {ours: name for name, ours in ASKED.items()}
    rows = [
        {"item": s.item_id, "criterion": theirs[s.criterion], "value": s.value, "cluster": s.item_id.partition("/")[0]}
        for s in scores
        if s.value is not None
    ]
    return validated(home, home.write(f"{spec.name}.jsonl", rows), spec.name)


def similarity(home: Home) -> dict[str, MarkValidation]:
    """Cosine of reply and last turn by the embedded encoder, beside all that people were asked."""
    from harness.models.encoder import load_encoder

    items, encoder = _items(), load_encoder()
    said = encoder.encode([item.reply for item in items])
    turns = encoder.encode([item.messages[-1].content for item in items])
    rows = [
        {"item": item.id, "criterion": name, "value": float(a @ b), "cluster": item.cluster}
        for item, a, b in zip(items, said, turns, strict=True)
        for name in TOPICAL
    ]
    return validated(home, home.write("similarity.jsonl", rows), "context_similarity")


def _items() -> list[JudgedItem]:
    """The replies as judges see them; the speakers take turns, and the last line is the one to answer."""
    found = []
    for row in replies():
        lines = [line.strip() for line in row["source"].split("\n") if line.strip()]
        roles = ("user", "assistant")
        said = tuple(Message(role=roles[(len(lines) - 1 - i) % 2], content=line) for i, line in enumerate(lines))  # type: ignore[arg-type]
        name = f"{row['cluster']}/{row['system_id']}"
        found.append(JudgedItem(id=name, messages=said, reply=row["system_output"].strip(), cluster=row["cluster"]))
    return found


# ── AltTest, PandaLM ─────────────────────────────────────────────────────────────────────────────────────────────────


def alt_test(home: Home, name: str) -> Iterator[tuple[str, str, str]]:
    """Judge, our ω/ρ, the printed ω/ρ; the authors' files are imported as they are."""
    from harness.studies.studies import find_study

    epsilon, printed = ALT_TEST[name]
    if name not in [s.name for s in _studies(home)]:
        import_ratings(home.engine, FOLDER / "alt-test" / f"{name}_human.json", name=name, epsilon=epsilon)
    study = find_study(home.engine, name)
    words = printed.split()
    for judge, figures in zip(words[::2], words[1::2], strict=True):
        made = import_judge(home.session, FOLDER / "alt-test" / f"{name}_llm.json", judge=judge, study=study)
        found = validate_judge(home.session, home.engine, study, [made.stage.run_id]).criteria[0].marks
        test = found.annotators if found is not None else None
        assert test is not None, found
        ours = f"{test.winning_share:.2f}/{test.advantage_probability.value:.2f}"
        yield judge, ours.replace("0.", "."), figures


def _studies(home: Home) -> Any:
    from harness.studies.studies import list_studies

    return list_studies(home.engine)


def pandalm(home: Home) -> Any:
    """The 999 pairs as votes: item, the two models, and three people's winner."""
    rows = json.loads((FOLDER / "pandalm" / "testset-v1.json").read_text())
    votes = []
    for row in rows:
        left, right = row["cmp_key"].split("_")
        for person in (1, 2, 3):
            winner = {0: "tie", 1: "left", 2: "right"}[int(row[f"annotator{person}"])]
            film = row["motivation_app"] + row["instruction"][:80]
            votes.append({"left": left, "right": right, "winner": winner, "rater": f"person {person}",
                          "prompt_id": f"{row['idx']}", "cluster": film})  # fmt: skip
    return import_ratings(home.engine, home.write("pandalm.jsonl", votes), name="pandalm").study


def judges(home: Home, judged: Sequence[str]) -> None:
    """Print how judges' scores go with people's marks: Spearman over all replies, Kendall within dialogues."""
    measured = [("context similarity", similarity(home))]
    measured += [
        ("@".join(Path(part).name for part in named.split("@")), own_judge(home, named, ("fluency", "coherence")))
        for named in judged
    ]
    for asked in ("geval", "rate_explain"):
        names = [name for name in TOPICAL if asked == "geval" or name in ("naturalness", "coherence")]
        measured.append((f"ChatGPT, {asked}", {name: chatgpt(home, name, asked=asked) for name in names}))
    for judge, found in measured:
        for criterion, marks in found.items():
            e, tau = marks.correlation, marks.within
            cells = [f"{x.value:.2f} [{x.low or 0:.2f}, {x.high or 0:.2f}]" for x in (e, tau) if x is not None]
            n = f"{e.n} / {e.n_clusters}" if e is not None else ""
            print(f"| {judge} | {criterion} | {' | '.join(cells)} | {n} |", flush=True)


def main() -> None:
    """Print the tables of docs/results/published.md; with folders of judges, of docs/judges.md."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(Path(folder))
        import_people(home)
        if sys.argv[1:]:
            judges(home, sys.argv[1:])
            return
        for name, (r, tau) in TOPICAL.items():
            cells = [name, f"{r:.3f} / {tau:.3f}"]
            for reading in ("ours", "zero", "authors"):
                marks = chatgpt(home, name, reading=reading)
                assert marks.linear
                assert marks.within
                cells.append(f"{marks.linear.value:.3f} / {marks.within.value:.3f}")
            print("| " + " | ".join(cells) + " |")
        for name in ("naturalness", "coherence"):
            marks = chatgpt(home, name, asked="rate_explain")
            print(name, "rate-explain", marks.linear and round(marks.linear.value, 3))
        for name in ALT_TEST:
            for row in alt_test(home, name):
                print("|", name, "|", " | ".join(row), "|")


if __name__ == "__main__":
    main()
