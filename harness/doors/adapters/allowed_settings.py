"""`adapter_config.json`: the settings that are understood, each with its rule; any other that is on is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from harness.doors.text import shown
from harness.errors import InputError

Residual = Literal["pissa", "olora"]
_MAX_RANK = 2**16
_MAX_ALPHA = 1e6
_MAX_PATTERN = 5000  # characters of a regular expression
_MAX_REPEATS = 5  # unbounded repeats after one another: a name is matched in a power of its length
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")

# How the weights were first drawn says nothing about what they are now, unless the base was changed with them.
_NEUTRAL_STARTS = (True, False, "gaussian", "eva", "orthogonal", "mica")
CONVERSION = (
    "save it again where it was trained with PEFT's `path_initial_model_for_weight_conversion`, which makes it plain "
    "LoRA, or merge it into a full checkpoint"
)
# About training or about PEFT itself: no part of what the weights mean.
_UNREAD = frozenset(
    (
        *("auto_mapping", "peft_version", "inference_mode", "runtime_config", "megatron_core", "qalora_group_size"),
        *("eva_config", "corda_config", "loftq_config", "lora_ga_config"),  # each says how a start was drawn
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """What an adapter's configuration says."""

    lora: Mapping[str, Any]  # what PEFT's LoraConfig takes
    base: str | None  # as it is named there
    revision: str | None
    residual: Residual | None  # the weights belong to a base from which their first values were taken

    @property
    def ranks(self) -> frozenset[int]:
        """Every rank that a layer may have."""
        return frozenset((self.lora.get("r", 8), *self.lora.get("rank_pattern", {}).values()))


def read_settings(config: object, *, name: str) -> AdapterSettings:
    """Check every setting; nothing of PEFT is imported.

    Args:
        name: what an error calls the adapter.

    Raises:
        InputError: it is no LoRA configuration, or a setting is unknown, wrong, or changes the base.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"`{name}` must have an object in adapter_config.json, got {shown(config)}; save it again")
    if config.get("peft_type") != "LORA":
        kind = shown(config.get("peft_type"))
        raise InputError(f"`{name}` must be a LoRA adapter (peft_type LORA), got {kind}; merge it into a checkpoint")
    said = {key: value for key, value in config.items() if value is not None and key not in ("peft_type", *_UNREAD)}
    for key, value in said.items():
        if key in _RULES:
            rule = _RULES[key]
            if not rule.holds(value):
                raise InputError(f"`{key}` of `{name}` must be {rule.text}, got {shown(value)}; {rule.remedy}")
        elif value:
            raise InputError(
                f"`{key}` of `{name}` must be off, since what it does is not known to leave the base as it is, got "
                f"{shown(value)}; merge the adapter into a full checkpoint, or remove the setting if it does nothing"
            )
    residual = _residual(said.get("init_lora_weights", True), name)
    return AdapterSettings(
        lora={key: value for key, value in said.items() if key in _LORA and value != ""},
        base=said.get("base_model_name_or_path") or None,
        revision=said.get("revision") or None,
        residual=residual,
    )


def _residual(start: object, name: str) -> Residual | None:
    """PEFT subtracts the first values of such weights from the base; where they can be computed again, they are.

    A randomised start (`pissa_niter_4`) or one made from data (CorDA, LoRA-GA) cannot, and LoftQ quantises the base.
    """
    if isinstance(start, str) and start.lower() in ("pissa", "olora"):
        return "pissa" if start == "pissa" else "olora"
    if isinstance(start, bool | str) and start in _NEUTRAL_STARTS:
        return None
    raise InputError(
        f"`init_lora_weights` of `{name}` must leave the base as it is or be computable again from it (pissa, olora), "
        f"got {shown(start)}; {CONVERSION}"
    )


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Rule:
    holds: Callable[[Any], bool]
    text: str
    remedy: str = "save the adapter again with PEFT"


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


_is_rank = partial(_is_whole, low=1, high=_MAX_RANK)
_is_index = partial(_is_whole, low=0, high=2**31 - 1)


def _is_alpha(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value <= _MAX_ALPHA  # type: ignore[operator]


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_PATTERN and _NAME.fullmatch(value) is not None


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _each(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_pattern(value: object) -> bool:
    """A regular expression that compiles and cannot take for ever: no repeat stands around more than one character."""
    if not isinstance(value, str) or len(value) > _MAX_PATTERN:
        return False
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError):
        return False
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", value)  # escapes and classes are one character each
    return re.search(r"\)(?:[*+]|\{)", bare) is None and _n_repeats(bare) <= _MAX_REPEATS


def _n_repeats(bare: str) -> int:
    """The most unbounded repeats that one alternative has."""
    depth, counts = 0, [0]
    for mark in re.findall(r"[()|*+]|\{\d*,\d*\}", bare):
        depth += (mark == "(") - (mark == ")")
        if mark == "|" and depth == 0:
            counts.append(0)
        counts[-1] += mark not in "()|"
    return max(counts)


def _is_names_or_pattern(value: object) -> bool:
    return _is_pattern(value) or _each(_is_name)(value)


def _by_pattern(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(_is_pattern(k) and holds(v) for k, v in value.items())


def _is_tokens(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_name(key) and _each(_is_index)(item) for key, item in value.items())
    return _each(_is_index)(value)


_TARGETS = "names of layers or a regular expression without repeated groups"
_RULES = {
    "r": _Rule(_is_rank, f"a whole number from 1 to {_MAX_RANK}"),
    "lora_alpha": _Rule(_is_alpha, f"a number above 0 and at most {_MAX_ALPHA:g}"),
    "lora_dropout": _Rule(lambda v: v == 0 or (_is_alpha(v) and v < 1), "a number from 0 to below 1"),
    "use_rslora": _Rule(_is_flag, "true or false"),
    "use_dora": _Rule(_is_flag, "true or false"),
    "lora_bias": _Rule(_is_flag, "true or false"),
    "fan_in_fan_out": _Rule(_is_flag, "true or false"),
    "target_modules": _Rule(_is_names_or_pattern, _TARGETS),
    "exclude_modules": _Rule(_is_names_or_pattern, _TARGETS),
    "layers_to_transform": _Rule(lambda v: _is_index(v) or _each(_is_index)(v), "numbers of layers"),
    "layers_pattern": _Rule(lambda v: v == "" or _is_name(v) or _each(_is_name)(v), "names of lists of layers"),
    "rank_pattern": _Rule(_by_pattern(_is_rank), f"patterns of layers with whole numbers from 1 to {_MAX_RANK}"),
    "alpha_pattern": _Rule(_by_pattern(_is_alpha), f"patterns of layers with numbers above 0, {_MAX_ALPHA:g} at most"),
    "modules_to_save": _Rule(_each(_is_name), "a list of names of layers"),
    "trainable_token_indices": _Rule(_is_tokens, "a list of token ids, or lists by layer"),
}
_LORA = frozenset((*_RULES, "base_model_name_or_path", "revision", "task_type"))
_RULES |= {
    "base_model_name_or_path": _Rule(lambda v: isinstance(v, str) and len(v) < 4096, "a text"),
    "revision": _Rule(lambda v: isinstance(v, str), "a text"),
    "init_lora_weights": _Rule(lambda v: isinstance(v, bool | str), "true, false or a name"),
    "task_type": _Rule(
        lambda v: v in ("", "CAUSAL_LM"), "CAUSAL_LM", "a classifier's or encoder's adapter cannot reply"
    ),
    "bias": _Rule(
        lambda v: v in ("", "none"),
        "`none`, since trained biases change the base also where the adapter is off",
        "merge the adapter into a full checkpoint",
    ),
}
