"""MLflow runs as stages: every stage is a run, found again by its fingerprint and resumed after a kill.

A stage's fingerprint is the digest of its name, its `REVISION`, its resolved configuration and the digests of its
inputs. A finished run with the same fingerprint is reused: the command's run gets a tag that names it, so the lineage
of every command is complete (earlier versions made a light run tagged `reused_from`). Until a stage finishes, its
outputs lie in `<home>/work/<stage>-<fingerprint>`, where the next attempt picks them up; the manifest is written last.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import InputError, UnavailableError
from harness.settings import Settings
from harness.store.artifacts import digest_json, flatten, write_manifest
from harness.store.fetching import fetch_once, local_folder, locked, reaching
from harness.store.intact import what_changed
from harness.store.mlflow_experiments import experiment_id, inherited_run
from harness.store.opening import open_mlflow
from harness.store.runs import RunInfo as RunInfo
from harness.store.runs import StageResult as StageResult
from harness.store.runs import info_of, run_name
from harness.store.software_versions import git_commit, maker, versions
from harness.store.stage_log import Stage as Stage
from harness.store.stage_log import log_datasets

EXPERIMENT = "screentest"
DATA_EXPERIMENT = f"{EXPERIMENT}-data"  # MLflow counts every run that logs no model among the evaluations of its own
DATA_STAGES = ("prepare", "pairs", "teach")
_REUSED = "reused."  # how tags begin that name a finished stage in place of a run of one's own
_PAGE = 1000  # runs that MLflow is asked for at a time


class Tracking:
    """The store that `Settings` names; made when first used, never at import."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.from_environment()
        self._intact: set[str] = set()  # runs whose files this command has checked

    @functools.cached_property
    def client(self) -> Any:
        """MLflow's client for runs and registry; what goes wrong with the store is one sentence."""
        return open_mlflow(self.settings)

    @contextlib.contextmanager
    def claimed_process(self) -> Iterator[None]:
        """Make this the store of MLflow's process-wide functions meanwhile; a notebook has its own before and after."""
        _ = self.client
        import mlflow

        is_set: Callable[[], bool] = mlflow.is_tracking_uri_set
        before: Any = mlflow.get_tracking_uri() if is_set() else None
        mlflow.set_tracking_uri(self.settings.tracking_uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)

    def experiment_id(self, name: str = EXPERIMENT) -> str:
        """Id of an experiment, made when it is new."""
        return experiment_id(self.client, name, settings=self.settings)

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, run_id: str) -> RunInfo:
        """What is recorded of a run; `latest` names the newest that has a report to show."""
        from mlflow.exceptions import MlflowException

        if run_id == "latest":
            newest = self.find(stage="analyse", limit=1)
            if not newest:
                raise InputError("`latest` needs an evaluation that has finished; run `screentest quickstart` first")
            return newest[0]
        try:
            return info_of(self.client.get_run(run_id))
        except MlflowException as err:
            raise InputError(
                f"`{run_id}` must be the id of a run in {self.settings.store_name}; there is none"
            ) from err

    def find(self, *, limit: int | None = 50, status: str | None = "FINISHED", **tags: str) -> list[RunInfo]:
        """Runs with these tags, newest first; all of them where `limit` is None."""
        return self._search([] if status is None else [f"attributes.status = '{status}'"], tags, limit)

    def originals(self, *, limit: int | None = None, **tags: str) -> list[RunInfo]:
        """Finished stages, newest first, without the light runs that stand for a reused one, however many there are."""
        return self._search(["attributes.status = 'FINISHED'", "tags.`output_digest` LIKE '%'"], tags, limit)

    def _search(self, parts: list[str], tags: Mapping[str, str], limit: int | None) -> list[RunInfo]:
        query = " and ".join([*parts, *(f"tags.`{key}` = '{value}'" for key, value in tags.items())])
        order = ["attributes.start_time DESC"]
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        found: list[RunInfo] = []
        token = None
        while experiments and (limit is None or len(found) < limit):
            n = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = self.client.search_runs(experiments, query, max_results=n, order_by=order, page_token=token)
            found += [info_of(run) for run in page]
            token = page.token
            if not token:
                break
        return found

    def children(self, run_id: str) -> list[RunInfo]:
        """Runs nested under a run, oldest first, then the finished stages that it reused."""
        reused = [value for key, value in self.run(run_id).tags.items() if key.startswith(_REUSED)]
        nested = self.find(limit=None, status=None, **{"mlflow.parentRunId": run_id})[::-1]
        return nested + [self.run(each) for each in reused]

    def source_of(self, info: RunInfo) -> RunInfo:
        """The run that did the work: the run itself, or the one it was reused from."""
        seen: set[str] = set()
        while (origin := info.tags.get("reused_from")) and origin not in seen:
            seen.add(origin)
            info = self.run(origin)
        return info

    def folder(self, run_id: str) -> Path:
        """The read-only folder of a run's artifacts; fetched into the home when the store is remote."""
        return self.fetched(run_id, self.client.get_run(run_id).info.artifact_uri)

    def fetched(self, name: str, uri: str) -> Path:
        """The read-only folder behind an artifact address: in place on this machine's disk, else fetched once.

        `name` names the fetched folder, so it must not be used for other files; processes that want the same one wait
        for each other.

        Raises:
            UnavailableError: the artifact store cannot be reached.
        """
        if (here := local_folder(uri)) is not None:
            return here
        _ = self.client  # which makes MLflow ready
        return fetch_once(uri, self.settings.work / "downloads" / name, settings=self.settings)

    @contextlib.contextmanager
    def command(self, name: str, *, tags: Mapping[str, str] | None = None) -> Iterator[Stage]:
        """The parent run of a command; adopts the run that `mlflow run` has made for this process."""
        run_id = inherited_run(self.client) or self.create(name, tags={"stage": name})
        stage = Stage(self, run_id, self.settings.work)
        stage.set_tags({"stage": name, **_commit_tag(), **(tags or {})})
        with self._closing(stage):
            yield stage
            self._note_elsewhere(run_id)

    def _note_elsewhere(self, run_id: str) -> None:
        """Links to the stages that MLflow does not show under a command's run, in the description that it shows."""
        here, found = self.run(run_id).experiment_id, self.children(run_id)
        reused = [info for info in found if info.tags.get("mlflow.parentRunId") != run_id]
        data = [info for info in found if info not in reused and info.experiment_id != here]
        told: list[str] = []
        for what, infos in (("Data made for it:", data), ("Reused, not run again:", reused)):
            links = [f"- [{r.name}](#/experiments/{r.experiment_id}/runs/{r.run_id})" for r in infos]
            told += [what, "", *links, ""] if links else []
        if told:
            self.client.set_tag(run_id, "mlflow.note.content", "\n".join(told).rstrip())

    def create(
        self, name: str, *, experiment: str = EXPERIMENT, parent: str | None = None, tags: Mapping[str, str]
    ) -> str:
        """A new run, nested under `parent` where one is given; the caller ends it.

        `tags` stand from the first moment, so that a run whose maker is killed can be told and found again.
        """
        tags = {"mlflow.runName": name, **maker(), **tags}
        if parent:
            tags["mlflow.parentRunId"] = parent
        if parent and experiment == EXPERIMENT:
            experiment_id = self.client.get_run(parent).info.experiment_id
        else:
            experiment_id = self.experiment_id(experiment)
        return str(self.client.create_run(experiment_id, tags=tags).info.run_id)

    @contextlib.contextmanager
    def _closing(self, stage: Stage) -> Iterator[None]:
        """End a run as FINISHED, KILLED or FAILED, whatever happens inside."""
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            stage.write_points()
            self.client.set_terminated(stage.run_id, status=status)

    # ── stages ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def stage(
        self,
        name: str,
        *,
        revision: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        work: Callable[[Stage], None],
        parent: str | None = None,
        force: bool = False,
        adopt: bool = False,
        tags: Mapping[str, str] | None = None,
        label: str = "",
        sources: Mapping[str, str] | None = None,
        on_change: Callable[[str], None] = lambda why: None,
    ) -> StageResult:
        """Run a stage, or reuse the finished run with the same fingerprint whose files are what they were.

        `work` fills `Stage.folder`, which survives a kill: what stands in it from an earlier attempt may be resumed.
        `adopt` lets the stage take the run that `mlflow run` made for this process. `label` names the run on MLflow's
        pages (`Generate (sft)`), `sources` says which run an input came from, by its digest. `on_change` is told why a
        finished stage runs again. Two processes that want the same stage wait for each other.
        """
        identity = {"stage": name, "revision": revision, "config": dict(config), "inputs": dict(inputs)}
        fingerprint = digest_json(identity)
        folder = self.settings.work / f"{name}-{fingerprint[:16]}"
        adopted = inherited_run(self.client) if adopt else None
        with locked(folder.with_suffix(".lock")):
            finished = None if force else self._finished(name, fingerprint, on_change)
            if finished is not None:
                return self._reuse(name, finished, fingerprint, inputs, parent, adopted, label)
            if force:
                shutil.rmtree(folder, ignore_errors=True)
            run_id = adopted or (None if force else self._unfinished(name, fingerprint))
            known = {"stage": name, "fingerprint": fingerprint}
            where = DATA_EXPERIMENT if name in DATA_STAGES else EXPERIMENT
            run_id = run_id or self.create(run_name(label or name), experiment=where, parent=parent, tags=known)
            log_datasets(self.client, run_id, inputs, sources=sources or {})
            return self._work(name, run_id, folder, fingerprint, identity, work, dict(tags or {}))

    def standing(
        self, name: str, *, revision: int, config: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> StageResult | None:
        """The finished run that `stage` would reuse; nothing is made, changed or waited for."""
        identity = {"stage": name, "revision": revision, "config": dict(config), "inputs": dict(inputs)}
        info = self._finished(name, digest_json(identity), lambda why: None)
        return None if info is None else self.result(info)

    def stage_of(self, run_id: str, *, is_reused: bool = False) -> StageResult:
        """What the finished stage of a run left behind. Raises InputError: the run is none."""
        source = self.source_of(self.run(run_id))
        return self.result(source, run_id=run_id, reused=is_reused or source.run_id != run_id)

    def result(self, info: RunInfo, *, run_id: str | None = None, reused: bool = True) -> StageResult:
        """What a finished stage's run left behind; `run_id` is that of a light run which points at it.

        Raises:
            InputError: the run is no finished stage.
        """
        if "output_digest" not in info.tags:
            raise InputError(
                f"`{run_id or info.run_id}` must be the run of a finished stage, got one of `{info.stage or 'unknown'}`"
            )
        return StageResult(
            name=info.stage,
            run_id=run_id or info.run_id,
            source_run_id=info.run_id,
            reused=reused,
            folder=self.fetched(info.run_id, info.artifact_uri),
            digest=info.tags["output_digest"],
            fingerprint=info.tags["fingerprint"],
            seconds=float(info.tags.get("seconds", 0.0)),
            inputs=json.loads(info.tags.get("inputs", "{}")),
        )

    def _work(
        self,
        name: str,
        run_id: str,
        folder: Path,
        fingerprint: str,
        identity: Mapping[str, Any],
        work: Callable[[Stage], None],
        tags: dict[str, str],
    ) -> StageResult:
        folder.mkdir(parents=True, exist_ok=True)
        self.client.update_run(run_id, status="RUNNING")
        stage = Stage(self, run_id, folder)
        recorded = {"stage": name, "fingerprint": fingerprint, "inputs": json.dumps(identity["inputs"])}
        stage.set_tags({**recorded, **_commit_tag(), **tags})
        stage.log_params(flatten(identity["config"]))
        started = time.perf_counter()
        with self._closing(stage):
            work(stage)
            digest = digest_json(write_manifest(folder))
            seconds = f"{time.perf_counter() - started:.3f}"
            with reaching(self.settings.store_name):
                self.client.log_artifacts(run_id, str(folder))
                self.client.log_dict(run_id, {**identity, "versions": versions()}, "stage.json")
            stage.set_tags({"output_digest": digest, "seconds": seconds})
        shutil.rmtree(folder)
        return self.stage_of(run_id)

    def _finished(self, name: str, fingerprint: str, on_change: Callable[[str], None]) -> RunInfo | None:
        """The newest finished run of a fingerprint whose files are what they were."""
        for info in self.originals(stage=name, fingerprint=fingerprint):
            why = self._what_changed(info) if info.run_id not in self._intact else None
            if why is None:
                self._intact.add(info.run_id)
                return info
            on_change(f"{why} in run {info.run_id[:8]}")
        return None

    def _what_changed(self, info: RunInfo) -> str | None:
        """What is no more as the run left it; a fetched copy that was altered here is thrown away and fetched again."""
        recorded = {key: info.tags[key] for key in ("output_digest", "fingerprint")}
        remembered = self.settings.work / "intact" / f"{info.run_id}.json"
        try:
            folder = self.fetched(info.run_id, info.artifact_uri)
            why = what_changed(folder, **recorded, remembered=remembered)
            if why is not None and folder.is_relative_to(self.settings.work):
                shutil.rmtree(folder)
                folder = self.fetched(info.run_id, info.artifact_uri)
                why = what_changed(folder, **recorded, remembered=remembered)
            return why
        except UnavailableError as err:
            return f"its files are out of reach ({err})"

    def _unfinished(self, name: str, fingerprint: str) -> str | None:
        """The newest run of a fingerprint that a kill or an error has left open; the caller holds the stage's lock.

        MLflow ends the run for a moment when a model is logged to it: killed then, it stands finished without a result.
        """
        for status in ("RUNNING", "FAILED", "KILLED", "FINISHED"):
            for info in self.find(stage=name, fingerprint=fingerprint, status=status):
                is_done = status == "FINISHED" and "output_digest" in info.tags
                if "reused_from" not in info.tags and not is_done:
                    return info.run_id
        return None

    def _reuse(
        self,
        name: str,
        finished: RunInfo,
        fingerprint: str,
        inputs: Mapping[str, str],
        parent: str | None,
        adopted: str | None,
        label: str,
    ) -> StageResult:
        """The finished run itself: the command's run gets a tag that names it, one of `mlflow run` points at it."""
        if adopted:
            known = {"stage": name, "fingerprint": fingerprint, "reused_from": finished.run_id}
            Stage(self, adopted, self.settings.work).set_tags({**known, "inputs": json.dumps(inputs)})
            self.client.set_terminated(adopted)
        elif parent:
            self.client.set_tag(parent, f"{_REUSED}{run_name(label or name)}.{fingerprint[:8]}", finished.run_id)
        return self.result(finished, run_id=adopted)


def _commit_tag() -> dict[str, str]:
    commit = git_commit()
    return {} if commit is None else {"git_commit": commit}
