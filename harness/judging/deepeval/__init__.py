"""The bridge to deepeval, an optional package: our models as its model, its metrics as our judges.

`bridge_model` gives any `LanguageModel` as a `DeepEvalBaseLLM`; a judge of method `deepeval` gives any of its metrics
as a `Judge`. deepeval is imported through `harness.judging.deepeval.quiet`, which keeps it off network and disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models.protocol import LanguageModel


def bridge_model(model: LanguageModel, *, name: str = "", max_new_tokens: int = 256) -> Any:
    """A `DeepEvalBaseLLM` that answers with `model`, greedily; hand it to a deepeval metric as `model=`.

    Raises UnavailableError: deepeval is not installed.
    """
    from harness.judging.deepeval.quiet import import_deepeval

    import_deepeval()
    from harness.judging.deepeval.model import BridgedModel

    return BridgedModel(model, name=name, max_new_tokens=max_new_tokens)


__all__ = ["bridge_model"]
