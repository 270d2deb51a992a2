"""What models are asked, where MLflow lists it: texts in its prompt registry, prompts as evaluation datasets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.store.artifacts import digest_json

if TYPE_CHECKING:
    from harness.types import Prompt

_NOT_IN_NAMES = re.compile(r"[^\w.-]", re.ASCII)
_EXPERIMENTS = "_mlflow_experiment_ids"  # the tag by which an experiment's page finds its prompts


def log_prompt(client: Any, run_id: str, text: str, *, name: str, **tags: str) -> None:
    """A version for each text under a name, linked to the run and to its experiment.

    The process's store must be the client's (`Tracking.claimed_process`): MLflow links to a run of its own.
    `client.register_prompt` would link it to the active experiment, which in a notebook is the user's own.
    """
    from mlflow.exceptions import MlflowException

    name = _NOT_IN_NAMES.sub("-", name)
    if client.get_prompt(name) is None:
        with contextlib.suppress(MlflowException):  # another process was first
            client.create_prompt(name)
    versions = client.search_prompt_versions(name)
    version = next((known for known in versions if known.template == text), None)
    version = version or client.create_prompt_version(name, text, tags=tags)
    experiments = str(client.get_prompt(name).tags.get(_EXPERIMENTS, "")).strip(",").split(",")
    if (own := client.get_run(run_id).info.experiment_id) not in experiments:
        client.set_prompt_tag(name, _EXPERIMENTS, f",{','.join([*filter(None, experiments), own])},")
    client.link_prompt_version_to_run(run_id, version)


def log_prompts(client: Any, experiment: str, prompts: Sequence[Prompt], *, corpus: str) -> None:
    """Make prompts with their references an evaluation dataset, the same ones once; the store is the process's own.

    A row holds what `mlflow.genai.evaluate` and `as_scorer` read: the conversation, and the reply that is known.
    """
    rows = [
        {
            "inputs": {"messages": [{"role": m.role, "content": m.content} for m in prompt.messages]},
            **({} if prompt.reference is None else {"expectations": {"expected_response": prompt.reference}}),
            "tags": {"prompt": prompt.id, "cluster": prompt.cluster},
        }
        for prompt in prompts
    ]
    name = f"{_NOT_IN_NAMES.sub('-', corpus)} ({len(rows)} prompts, {digest_json(rows)[:8]})"
    found = client.search_datasets(experiment_ids=[experiment], filter_string=f"name = '{name}'", max_results=1)
    (found[0] if found else client.create_dataset(name, experiment)).merge_records(rows)
