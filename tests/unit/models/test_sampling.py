"""The inverse-CDF draw: against the distribution, and against a plain sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.models.sampling import chance, pick, validate_decoding
from harness.types import Decoding


def _grid(n: int) -> torch.Tensor:
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def test_an_even_grid_of_chances_gives_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    n = 20_000
    drawn = pick(logits.expand(n, 4), _grid(n), temperature=0.7, top_p=1.0)
    shares = torch.bincount(drawn, minlength=4) / n
    assert torch.allclose(shares, (logits / 0.7).softmax(-1), atol=1 / n * 2)


def test_the_nucleus_keeps_the_token_that_crosses_the_line() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    n = 20_000
    drawn = pick(logits.expand(n, 4), _grid(n), temperature=1.0, top_p=0.6)
    shares = torch.bincount(drawn, minlength=4) / n  # 0.5 < 0.6 ≤ 0.5 + 0.3: two tokens stay
    assert torch.allclose(shares, torch.tensor([5 / 8, 3 / 8, 0, 0]), atol=1e-3)


@given(st.integers(0, 10_000), st.floats(0.05, 0.999), st.floats(0.3, 1.5))
def test_it_equals_a_full_sort_in_double_precision(seed: int, top_p: float, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=600) * rng.uniform(0.01, 3)  # flat ones need more than the first 256 candidates
    u = float(rng.random())
    p = np.exp(logits / temperature - np.max(logits / temperature))
    p /= p.sum()
    order = np.argsort(-p)
    before = np.concatenate([[0], np.cumsum(p[order])[:-1]])
    if np.any(np.abs(before - top_p) < 1e-5):
        return  # too near to call in single precision
    kept = np.zeros_like(p)
    kept[order[before < top_p]] = p[order[before < top_p]]
    held = np.cumsum(kept)
    if np.min(np.abs(held - u * held[-1])) < 1e-5:
        return
    expected = int(np.searchsorted(held, u * held[-1], side="right"))
    drawn = pick(
        torch.tensor(logits, dtype=torch.float32)[None],
        torch.tensor([u], dtype=torch.float64),
        temperature=temperature,
        top_p=top_p,
    )
    assert int(drawn[0]) == expected


@given(st.sampled_from([0.0, 1 - 2**-53]), st.sampled_from([1.0, 0.9]))
def test_the_ends_of_chance_stay_inside_the_support(u: float, top_p: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    drawn = pick(logits, torch.tensor([u], dtype=torch.float64), temperature=1.0, top_p=top_p)
    assert int(drawn[0]) in (1, 2)


def test_temperature_zero_is_greedy() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert int(pick(logits, torch.tensor([0.99]), temperature=0, top_p=0.5)[0]) == 1


def test_chance_hangs_on_seed_prompt_draw_and_step_alone() -> None:
    decoding = Decoding(seed=3)
    here = chance(decoding, "p", 0, 0)
    assert here == chance(Decoding(seed=3, temperature=0.1), "p", 0, 0)
    others = {chance(Decoding(seed=4), "p", 0, 0), chance(decoding, "q", 0, 0), chance(decoding, "p", 1, 0)}
    assert len({here, chance(decoding, "p", 0, 1), *others}) == 5


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"n_draws": 0}, {"stop": ("",)}],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"`{next(iter(wrong))}` must be"):
        validate_decoding(Decoding(**wrong))  # type: ignore[arg-type]
