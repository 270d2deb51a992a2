"""Screentest in Python: did this change make the model better, by how much, how sure are we, may the judge be believed?

    import screentest as st
    found = st.compare("base", "./adapter", data="test.jsonl")

Everything heavy is imported when it is used. All state lies where the command line's does (`SCREENTEST_HOME`, by
default `./mlruns`), and a stage that either has finished is found again by the other.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from typing import overload as _overload

if TYPE_CHECKING:
    import pandas as pd

    from harness.experiment.found import Claim, Found
    from harness.judging.own import OwnJudge
    from harness.measures.measure import Measure
    from harness.store.tracking import Tracking
    from harness.studies.studies import Created
    from harness.types import Adapter, Criterion, JudgedItem

__all__ = [
    "Claim", "Found", "JudgedItem", "ablate", "compare", "evaluate", "judge", "judges", "measure", "qualify", "study",
    "train",
]  # fmt: skip
_LAZY = {"Claim": "harness.experiment.found", "Found": "harness.experiment.found", "JudgedItem": "harness.types"}
_PACKAGES = ("harness", "pipelines")
_PathLike = str | os.PathLike[str]


_HERE = Path(__file__).resolve().parent


class _OwnPackages(MetaPathFinder):
    """Finds the packages beside this file, where a notebook's folder, first on its path, has others of their names."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, _HERE / name / "__init__.py") if name in _PACKAGES else None


for _name in _PACKAGES:
    _file = getattr(sys.modules.get(_name), "__file__", None)
    if _file is not None and Path(_file).resolve().parent != _HERE / _name:
        raise ImportError(f"`{_name}` must be the package of screentest, got {_file}: import screentest before it")
sys.meta_path.insert(0, _OwnPackages())


def compare(
    control: Any,
    treatment: Any,
    *,
    data: Any = None,
    corpus: str | None = None,
    measures: Sequence[Any] | None = None,
    task: str | None = None,
    base: str | None = None,
    prompts: int | None = None,
    min_effect: float = 0.02,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    seed: int = 7,
    force: bool = False,
    budget_usd: float | None = None,
) -> Found:
    """Is the treatment better than the control? Two variants on the same prompts, with a verdict and its interval.

    Args:
        control: `"base"`, a hub id, a folder, `"name@alias"`, a .jsonl of replies, `"http://host/v1#model"`; rows of
            replies (`prompt_id`, `text`) in memory; `(model, tokenizer)` of transformers or PEFT; or a function from
            the prompt (or from `messages`, where its parameter is called so) to the reply.
        treatment: what should be better, given in the same ways.
        data: test prompts with human replies: a file, a DataFrame, a list of dicts or a `datasets.Dataset` with
            `prompt` and `completion`, or `messages`, and `cluster` where rows belong together.
        corpus: or a corpus, whose TEST prompts are used.
        measures: to claim something on: names, functions under `@measure` and `@judge`, judges' folders; without it,
            what the task measures against references; for film dialogue, and where there are none, held-out loss where
            both sides have weights, else being cut off. The others are shown as exploratory.
        task: dialogue, chat, exact (one right answer), extraction, code-like, summary or classification; without it,
            the data tell.
        base: of adapter folders that name none, or whose base has moved.
        prompts: to generate on; without it 60, or all that rows of replies answer.
        min_effect: smallest difference in held-out loss that matters, bits per byte.
        max_new_tokens: length cap of every reply; the task's own where it is None.
        temperature: 0 is greedy; the task's own where it is None.
        seed: of every random stream.
        force: run every stage again.
        budget_usd: stop before endpoints could cost more.

    Raises:
        InputError: what was given cannot be used, in one sentence. UnavailableError: a server or package is not there.
    """
    from harness.experiment.compare import build_design
    from harness.experiment.evaluate import run
    from harness.experiment.sources import data_file, declared_measures, side_of
    from harness.settings import Settings
    from pipelines.cli.session import open_command

    settings = Settings.from_environment()
    with _lending():
        design = build_design(
            side_of(control, settings, base=base),
            side_of(treatment, settings, base=base),
            data=None if data is None else data_file(data, settings),
            corpus=corpus,
            base=base,
            judges=(),
            family=None if measures is None else declared_measures(measures),
            n_prompts=prompts,
            min_effect=min_effect,
            task=task,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        with open_command("compare", force=force, budget_usd=budget_usd) as session:
            return _found(run(session, design, folder=Path.cwd()), session.tracking)


def evaluate(
    file: _PathLike,
    *,
    profile: str | None = None,
    corpus: str | None = None,
    task: str | None = None,
    measures: Sequence[Any] = (),
    seed: int | None = None,
    limit: int | None = None,
    force: bool = False,
    budget_usd: float | None = None,
) -> Found:
    """Every variant of an experiment file on the same held-out prompts; `measures` are claimed on besides its own.

    Raises:
        InputError: the file breaks a rule; it says which.
    """
    from harness.experiment.design import EvaluationDesign
    from harness.experiment.evaluate import load_design, run
    from harness.experiment.sources import declared_measures
    from pipelines.cli.session import open_command

    path = Path(file)
    with _lending():
        design = load_design(
            path, EvaluationDesign, profile=profile, corpus=corpus, seed=seed, task=task,
            measures=declared_measures(measures, beside=path.parent),
        )  # fmt: skip
        with open_command("evaluate", force=force, budget_usd=budget_usd) as session:
            done = run(session, design, folder=path.resolve().parent, limit=limit)
            return _found(done, session.tracking)


def ablate(
    file: _PathLike,
    *,
    profile: str | None = None,
    corpus: str | None = None,
    measures: Sequence[Any] = (),
    seeds: Sequence[int] = (),
    workers: int = 2,
    executor: Literal["local", "ray"] = "local",
    limit: int | None = None,
    force: bool = False,
) -> Found:
    """Train and compare the arms of an ablation file over its seeds; `measures` are claimed on besides its own.

    Workers import functions by `module:name`, so that a measure or judge has to lie in a module.

    Raises:
        InputError: the file breaks a rule, or a function is one that only this process has.
    """
    from harness.experiment.ablate import Executor, run
    from harness.experiment.arms import AblationDesign
    from harness.experiment.evaluate import load_design
    from harness.experiment.sources import declared_measures, require_importable
    from harness.store.tracking import Tracking
    from harness.terminal import say, stderr

    path, tracking = Path(file), Tracking()
    with _lending():
        more = declared_measures(measures, beside=path.parent)
        own = list(seeds) or None
        design = load_design(path, AblationDesign, profile=profile, corpus=corpus, measures=more, seeds=own)
        require_importable({n: m.model_dump() for n, m in design.measures.items()}, who="ablate")
        ablated = run(
            tracking, design, file=path, profile=profile, executor=Executor(name=executor, n_workers=workers),
            console=stderr(), say=say, limit=limit, is_forced=force,
        )  # fmt: skip
        return _found(ablated, tracking)


def train(
    recipe: _PathLike,
    *,
    corpus: str = "sample",
    parent: str | None = None,
    pairs: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
    force: bool = False,
) -> Adapter:
    """Fine-tune by a recipe and register the adapter, which `compare` takes as `"name/version"`.

    Args:
        recipe: YAML of an SFT recipe, or of a DPO recipe, which trains on top of `parent`.
        corpus: what to train on: `sample`, `cornell`, a folder, a zip or a .jsonl.
        parent: DPO: an adapter instead of the recipe's own.
        pairs: DPO: a run id or a JSONL of preferences; without it, the human reply against a sample of the parent.
        seed: instead of the recipe's.
        limit: at most so many windows of each split.
        force: train again where the result stands.
    """
    from pipelines import recipes
    from pipelines.cli.session import open_session

    with _lending():
        session, file = open_session(force=force), Path(recipe)
        asked = recipes.read_training(session, file, corpus=corpus, parent=parent, pairs=pairs, seed=seed, limit=limit)
        return recipes.train(session, asked).adapter


def judges() -> pd.DataFrame:
    """Judges that ship or that packages offer: name, criteria, method, model, family and where they lie."""
    import pandas as pd

    from harness.experiment.judges.offered import offered_judges

    return pd.DataFrame(offered_judges())


def qualify(
    judge: Any,
    *,
    corpus: str = "sample",
    controls: _PathLike | None = None,
    n: int | None = None,
    seed: int = 7,
    force: bool = False,
) -> pd.DataFrame:
    """May a judge be believed? A row per criterion and family of planted controls: AUC with interval, status, reason.

    Args:
        judge: a function under `@judge`, a folder, or `"module:name"`.
        corpus: whose TRAIN and VALIDATION films the controls are planted in.
        controls: JSONL of controls of your own besides, for criteria that nothing is planted for.
        n: true replies per family.
        seed: of the draw.
        force: judge them again.
    """
    import pandas as pd

    from harness.experiment.judges.judge_files import qualification_rows, qualify_judge
    from harness.experiment.sources import judge_path
    from pipelines.cli.session import open_command

    with _lending(), open_command("qualify", force=force) as session:
        own = None if controls is None else Path(controls)
        return pd.DataFrame(
            qualification_rows(
                qualify_judge(session, judge_path(judge), corpus=corpus, n=n, seed=seed, own_controls=own)
            )
        )


def study(file: _PathLike, *, name: str | None = None) -> Created:
    """Make the blind study that a file declares; its links are shown once: `created.links[0].url("http://…")`."""
    from harness.studies.create import draw_study
    from harness.studies.studies import create_study
    from pipelines.cli.session import open_session, open_store

    with _lending():
        return create_study(open_store(), draw_study(open_session(), Path(file), name=name))


@_overload
def measure(
    function: Callable[..., Any],
    *,
    better: Literal["higher", "lower"] | None = ...,
    unit: str = ...,
    is_rate: bool = ...,
    smallest_effect: float | None = ...,
    per: Literal["reply", "pair", "variant"] = ...,
    name: str | None = ...,
) -> Measure: ...
@_overload
def measure(
    function: None = None,
    *,
    better: Literal["higher", "lower"] | None = ...,
    unit: str = ...,
    is_rate: bool = ...,
    smallest_effect: float | None = ...,
    per: Literal["reply", "pair", "variant"] = ...,
    name: str | None = ...,
) -> Callable[[Callable[..., Any]], Measure]: ...
def measure(
    function: Callable[..., Any] | None = None,
    *,
    better: Literal["higher", "lower"] | None = None,
    unit: str = "",
    is_rate: bool = False,
    smallest_effect: float | None = None,
    per: Literal["reply", "pair", "variant"] = "reply",
    name: str | None = None,
) -> Measure | Callable[[Callable[..., Any]], Measure]:
    """A function as a measure: `@measure(better="higher", unit="share", is_rate=True)` above it.

    Args:
        function: takes the reply; by name also `prompt`, `messages`, `reference` and `generation`. Per pair it takes
            `other` too, another variant's reply to the same prompt; per variant the list of all replies. It returns a
            number, a truth value, or None for a missing row. What it raises makes the row missing, with the reason.
        better: which direction is; without it the measure is shown and claims nothing.
        unit: as a reader meets it, e.g. `share`, `words`.
        is_rate: whether every value is a share from 0 to 1, whose mean gets a rate's interval.
        smallest_effect: the smallest difference that matters, in its unit.
        per: reply, pair or variant.
        name: instead of the function's.

    Raises:
        InputError: it asks for an argument that there is not.
    """
    from harness.measures.measure import make_measure

    def made(given: Callable[..., Any]) -> Measure:
        return make_measure(
            given, better=better, unit=unit, is_rate=is_rate, smallest_effect=smallest_effect, per=per, name=name
        )

    return made if function is None else made(function)


def judge(
    *, family: str, criteria: Sequence[str | Criterion] | Mapping[str, str]
) -> Callable[[Callable[..., Any]], OwnJudge]:
    """A function as a judge: `@judge(family="mine", criteria=["politeness"])` above it.

    It takes a list of `JudgedItem` (id, messages, reply) and returns as many scores, each a number, more being better,
    or None; with several criteria each is a mapping. Its scores are exploratory until planted controls qualify it.

    Args:
        family: the model family behind the scores, or any other word: a judge may not judge its own family.
        criteria: names, or names with their definitions.
    """
    from harness.judging.own import make_judge

    return lambda function: make_judge(function, family=family, criteria=criteria)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'screentest' has no attribute {name!r}")


@contextlib.contextmanager
def _lending() -> Iterator[None]:
    """What the caller handed over is let go of at the end; libraries are quiet as on the command line."""
    from harness.doors import functions

    for variable in ("MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(variable, "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import pipelines  # noqa: F401  # names what prepares and trains

    try:
        yield
    finally:
        functions.take_back()


def _found(done: Any, tracking: Tracking) -> Found:
    from harness.experiment.found import Found

    return Found(record=done.record, files=done.files, tracking=tracking)
