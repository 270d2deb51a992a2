"""How many packs go through the model at once: gradient accumulation in fewer, longer passes.

A step's gradient is a sum over its packs, whatever passes they come in. On a CPU a pass costs what its tokens cost. On
a GPU a pass over one pack of a large model mostly waits for Python to launch its kernels (850 ms for 512 tokens of a 3B
in 4 bits on an H100, `docs/results/gpu.md`), so as many packs as memory safely holds share a pass, and the row that
they make is isolated as a pack is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError
from harness.models.devices import card_bytes
from pipelines.training.modeling import Attention, Runtime

if TYPE_CHECKING:
    from pipelines.training.processes import Processes
    from pipelines.training.recipe import TrainingRecipe

# Tokens beyond which a longer row gains nothing: with a mask, attention's work grows with their square.
_MOST_TOKENS: dict[Attention, int] = {"flash_attention_2": 16_384, "sdpa": 4096, "eager": 0}
_USABLE = 0.8  # of the card's memory; the rest is CUDA's own, the optimiser's and fragments
_WIDTHS, _INNER_WIDTHS = 30, 12  # vectors that one layer keeps for its gradient, in hidden and intermediate sizes


def packs_per_pass(recipe: TrainingRecipe, *, model: Any, runtime: Runtime, processes: Processes, longest: int) -> int:
    """Packs of one pass, a divisor of those that a process has in a step; `longest` is the tokens of the longest pack.

    The same on every machine with the same card, so that a resumed training goes on as it began.

    Raises:
        ConfigError: the recipe says a number that does not divide them.
    """
    own = processes.divide(recipe.optimizer.packs_per_step)
    asked = recipe.optimizer.packs_per_pass
    if asked != "auto":
        if own % asked:
            raise ConfigError(
                f"`optimizer.packs_per_pass` must divide the {own} packs that a process has in a step, got {asked}"
            )
        return asked
    if runtime.device == "cpu":
        return 1
    room = min(_MOST_TOKENS[runtime.attention], _tokens_in_memory(model, runtime, recipe))
    return processes.least(max(n for n in range(1, own + 1) if own % n == 0 and (n == 1 or n * longest <= room)))


def _tokens_in_memory(model: Any, runtime: Runtime, recipe: TrainingRecipe) -> int:
    """Tokens whose activations fit beside the weights, were all of them under loss: estimated, on the safe side."""
    width = runtime.dtype.itemsize
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size  # GPT-2 has no name for it
    layer = width * (_WIDTHS * config.hidden_size + _INNER_WIDTHS * inner)
    kept = width * config.hidden_size if recipe.gradient_checkpointing else layer
    logits = 2 * width * config.vocab_size  # and their gradient
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return int((_USABLE * card_bytes() - weights) // (config.num_hidden_layers * kept + layer + logits))
