"""What making an adapter asks of a device, at most, by its settings and its data: tokens, before any is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.experiment.planning.pace import READINGS_WITH_REFERENCE, Effort
from harness.store.prepared import SplitSummary

Settings = Mapping[str, Any]


def windows_effort(settings: Settings, needs: Mapping[str, Settings], train: SplitSummary) -> Effort:
    """Of a training on windows: its budget of tokens, or so many times all of TRAIN."""
    data = settings["data"]
    return Effort(n_trained=data["train_tokens"] or data["epochs"] * train.windows.n_tokens)


def pairs_effort(settings: Settings, needs: Mapping[str, Settings], train: SplitSummary) -> Effort:
    """Of candidates for pairs: as if every wanted pair took one prompt."""
    n = min(settings["n_pairs"], train.windows.n_prompts) * settings["n_candidates"]
    return Effort(n_replies=n, n_generated=n * settings["max_new_tokens"])


def preference_effort(settings: Settings, needs: Mapping[str, Settings], train: SplitSummary) -> Effort:
    """Of a training on pairs: each is two windows of mean length, read by the reference too."""
    data, windows = settings["data"], train.windows
    made = needs.get("pairs", {}).get("n_pairs", windows.n_prompts)
    n = min(data["n_pairs"] or made, made, windows.n_prompts)
    mean = windows.n_tokens / max(1, windows.n_examples)
    return Effort(n_trained=round(2 * n * mean) * data["epochs"], readings=READINGS_WITH_REFERENCE)
