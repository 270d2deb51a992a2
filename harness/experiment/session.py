"""What one command carries through its stages: the store, the models in memory, the screen, and what has been done."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import StageError
from harness.experiment.judges.spending import Spending
from harness.experiment.variants import ModelPool
from harness.models.bases import asked_digest
from harness.models.cache import AnswerCache
from harness.models.cached import CachedModel
from harness.models.memory import PEAK_METRIC, peak_bytes, released, told_in_a_sentence
from harness.models.metering import Usage
from harness.settings import Settings
from harness.store.tracking import Stage, StageResult, Tracking
from harness.terminal import dim, green
from harness.types import BaseModel, Progress, Variant

if TYPE_CHECKING:
    from harness.models.encoder import Encoder
    from harness.models.local import Dtype
    from harness.models.protocol import LanguageModel

LOOKED_AT = ("prepare",)  # stages that a dry run does: they cost nothing and say what the others are about
CALLS_METRIC, INPUT_METRIC, OUTPUT_METRIC = "calls", "tokens_read", "tokens_generated"

Found = TypeVar("Found")
OnProgress = Callable[[Progress], None]
ShowProgress = Callable[[str], AbstractContextManager[OnProgress]]


class NotStanding(StageError):
    """A stage of a dry run that no finished run stands for: it would be done."""


def _silent(label: str) -> AbstractContextManager[OnProgress]:
    return contextlib.nullcontext(lambda progress: None)


@dataclass(kw_only=True)
class Session:
    """State of one command. Stages run through `stage`, so that reuse is shown and lineage is kept in one place."""

    tracking: Tracking
    parent: str | None = None  # run that the stages nest under
    is_forced: bool = False
    is_dry: bool = False  # only looks which stages stand; data are prepared all the same
    declaration: str = ""  # digests of the declarations that stand while its stages run
    show: ShowProgress = _silent
    say: Callable[[str], None] = lambda text: None
    pool: ModelPool = field(default_factory=ModelPool)
    spending: Spending = field(default_factory=Spending)
    done: list[StageResult] = field(default_factory=list)
    _found: dict[str, Any] = field(default_factory=dict)

    def dry(self) -> Session:
        """The same session as one that changes nothing, says nothing and asks no server to work."""
        spending = replace(self.spending, may_ask=False)
        return replace(
            self, is_dry=True, show=_silent, say=lambda text: None, spending=spending, done=[], _found=dict(self._found)
        )

    def once(self, key: str, find: Callable[[], Found]) -> Found:
        """What `find` finds, looked for once a session."""
        if key not in self._found:
            self._found[key] = find()
        found: Found = self._found[key]
        return found

    @functools.cached_property
    def answers(self) -> AnswerCache:
        """What local judges have answered, in the SQL store."""
        from harness.store.database import open_database

        return AnswerCache(open_database(Settings.from_environment().database_url), "local")

    def cached(self, base: BaseModel, *, dtype: Dtype, repetition: int = 0) -> CachedModel:
        """A base of the pool behind the answer cache; loaded only when it is asked something new."""

        def said(n_known: int, n_asked: int) -> None:
            if n_known and n_asked > 1:
                self.say(f"  {n_known:,} of {n_asked:,} answers of {base.source} stand already")

        return CachedModel(
            lambda: self.pool.base(base, dtype=dtype),
            identity=[asked_digest(base), dtype, repetition],
            cache=self.answers,
            base=base,
            on_recall=said,
        )

    def encoder(self, base: BaseModel) -> Encoder:
        """A sentence encoder, loaded once a session."""
        from harness.models.encoder import load_encoder

        return self.once(f"encoder {base.digest}", lambda: load_encoder(base.source, revision=base.revision))

    @functools.cached_property
    def endpoints(self) -> tuple[str, ...]:
        """Servers that reply in this process's place; where replies are made is no part of what is asked."""
        return Settings.from_environment().endpoints

    def require_served(self, variants: Iterable[Variant]) -> None:
        """Refuse servers that lack one of the variants, before anything is sent or trained; none asked, none needed.

        Raises:
            InputError: a server offers another model under a variant's name, or none. UnavailableError: it is silent.
        """
        if self.endpoints:
            from harness.models.endpoint.replicas import require_served

            require_served(self.endpoints, variants)

    def replier(self, variant: Variant) -> LanguageModel:
        """What replies for a variant: this process, its own endpoint or file, or the servers of the environment.

        Raises:
            InputError: a server does not offer the variant. UnavailableError: it does not answer.
        """
        if variant.kind != "model" or not self.endpoints:
            return self.pool.of(variant, spending=self.spending)
        from harness.models.endpoint.replicas import replicated

        return replicated(variant, self.endpoints, connect=self.spending.served)

    @property
    def usage(self) -> Usage:
        """What was asked of models so far, here and behind endpoints."""
        return self.pool.usage.plus(self.spending.usage)

    def stage(
        self,
        name: str,
        *,
        label: str,
        revision: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        work: Callable[[Stage, OnProgress], None],
        tags: Mapping[str, str] | None = None,
        adopt: bool = False,
    ) -> StageResult:
        """Run or reuse a stage and remember it; `work` is told where to report progress."""

        def worked(stage: Stage) -> None:
            before = self.usage
            told = told_in_a_sentence(label, settings=config, folder=stage.folder)
            with released(), self.show(label) as on_progress, told:
                work(stage, on_progress)
            for key, value in usage_metrics(self.usage.plus(before, sign=-1)).items():
                stage.log_metric(key, value)
            stage.log_metric(PEAK_METRIC, peak_bytes())

        if self.is_dry and name not in LOOKED_AT:
            standing = (
                None
                if self.is_forced
                else self.tracking.standing(name, revision=revision, config=config, inputs=inputs)
            )
            if standing is None:
                raise NotStanding(f"{label} would run")
            return standing
        result = self.tracking.stage(
            name,
            revision=revision,
            config=config,
            inputs=inputs,
            work=worked,
            parent=self.parent,
            force=self.is_forced,
            adopt=adopt,
            tags=tags,
            label=label,
            sources={stage.digest: stage.source_run_id for stage in self.done},
            on_change=lambda why: self.say(f"  {label} runs again: {why}"),
        )
        if result.reused:
            self.say(f"  {green('↻')} {label} {dim(f'reused, took {result.seconds:.0f} s when it ran')}")
        self.done.append(result)
        return result


def usage_metrics(used: Usage) -> dict[str, int]:
    """A stage's metrics of what it asked of models; tokens are left out where some were not counted."""
    if used.n_calls == 0:
        return {}
    tokens = {} if used.n_uncounted else {INPUT_METRIC: used.n_input, OUTPUT_METRIC: used.n_output}
    return {CALLS_METRIC: used.n_calls, **tokens}
