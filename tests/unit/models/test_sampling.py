"""The draw of a token: against the distribution, against a plain race, and against rounding."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.errors import ConfigError
from harness.models import sampling
from harness.models.sampling import chance, pick, validate_decoding
from harness.seeding import derive
from harness.types import Decoding

MASK = (1 << 64) - 1


def chances(n: int, *, seed: int = 0) -> torch.Tensor:
    """Numbers as `chance` gives them."""
    return torch.tensor([chance(Decoding(seed=seed), "p", 0, step) for step in range(n)])


def wait(number: int, token: int) -> float:
    """A token's waiting time in Python's own integers: SplitMix64, then an exponential."""
    x = (number + token * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    x ^= x >> 31
    return -math.log1p(-((x >> 10) + 0.5) / 2**54)


def test_the_hash_is_splitmix64() -> None:
    """Its first outputs for the seed 1234567 are known (Java's SplittableRandom, rosettacode.org)."""
    from harness.models.sampling import _hash, _signed

    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    steps = torch.tensor([_signed((1234567 + i * 0x9E3779B97F4A7C15) & MASK) for i in range(1, 6)])
    assert _hash(steps).tolist() == [number >> 10 for number in known]


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.3, 1.0), (1.0, 0.9)])
def test_shares_are_the_softmax_within_the_nucleus(temperature: float, top_p: float) -> None:
    logits, n = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, -3.0]), 40_000
    drawn = pick(logits.expand(n, 6), chances(n), temperature=temperature, top_p=top_p)
    p = (logits / temperature).softmax(-1).double()
    order = p.argsort(descending=True)
    kept = torch.zeros(6, dtype=torch.bool)
    kept[order[p[order].cumsum(0) - p[order] < top_p]] = True
    counts = torch.bincount(drawn, minlength=6)
    assert counts[~kept].sum() == 0
    expected = (p[kept] / p[kept].sum()) * n
    assert stats.chisquare(counts[kept].numpy(), expected.numpy()).pvalue > 1e-3


def test_rare_tokens_come_as_often_as_they_should() -> None:
    """Half of the mass on one token, half on 20,000: short waits need their digits."""
    logits = torch.zeros(20_001)
    logits[0] = math.log(20_000)
    n = 2_000
    drawn = pick(logits.expand(n, 20_001), chances(n), temperature=1.0, top_p=1.0)
    assert stats.binomtest(int((drawn == 0).sum()), n, 0.5).pvalue > 1e-3
    assert stats.kstest(drawn[drawn > 0].numpy() / 20_001, "uniform").pvalue > 1e-3


@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.floats(0.3, 1.5))
def test_it_is_the_race_among_a_full_sort_in_double_precision(seed: int, top_p: float, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=600) * rng.uniform(0.01, 3)  # flat ones need more than the first 256 candidates
    number = chance(Decoding(seed=seed), "q", 1, 2)
    p = np.exp(logits / temperature - np.max(logits / temperature))
    p /= p.sum()
    order = np.argsort(-p)
    before = np.concatenate([[0], np.cumsum(p[order])[:-1]])
    if np.any(np.abs(before - top_p) < 1e-5):
        return  # too near to call in single precision
    inside = order[before < top_p]
    arrival = np.array([wait(number, int(token)) for token in inside]) / p[inside]
    if len(inside) > 1 and np.diff(np.log(np.sort(arrival)[:2])) < 1e-4:
        return
    drawn = pick(
        torch.tensor(logits, dtype=torch.float32)[None],
        torch.tensor([number]),
        temperature=temperature,
        top_p=top_p,
    )
    assert int(drawn[0]) == int(inside[arrival.argmin()])


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_what_cannot_be_said_is_never_drawn(top_p: float) -> None:
    logits = torch.tensor([-torch.inf, 0.0, 0.0, -torch.inf])
    drawn = pick(logits.expand(500, 4), chances(500), temperature=1.0, top_p=top_p)
    assert set(drawn.tolist()) == {1, 2}


def test_rounding_hardly_ever_changes_a_token() -> None:
    """Logits of a flat distribution over 49,152 tokens, rounded as another batch rounds them: 1e-5 of a nat."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 49_152, generator=generator)
    other = logits + 1e-5 * torch.randn(200, 49_152, generator=generator)
    numbers = chances(200)
    here, there = (pick(each, numbers, temperature=1.2, top_p=1.0) for each in (logits, other))
    assert int((here != there).sum()) == 0


def test_variants_that_agree_draw_the_same() -> None:
    """Two distributions at total variation d draw the same token in at least (1 − d)/(1 + d) of cases."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(1, 1000, generator=generator)
    second = first + 0.3 * torch.randn(1, 1000, generator=generator)
    apart = float((first.softmax(-1) - second.softmax(-1)).abs().sum() / 2)
    n = 4_000
    numbers = chances(n)
    here, there = (pick(each.expand(n, 1000), numbers, temperature=1.0, top_p=1.0) for each in (first, second))
    same = int((here == there).sum())
    assert stats.binomtest(same, n, (1 - apart) / (1 + apart), alternative="less").pvalue > 1e-3
    assert 0.05 < apart < 0.5


def test_temperature_zero_is_greedy() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert int(pick(logits, torch.tensor([99]), temperature=0, top_p=0.5)[0]) == 1


def test_chance_hangs_on_seed_prompt_draw_and_step_alone() -> None:
    decoding = Decoding(seed=3)
    here = chance(decoding, "p", 0, 0)
    assert here == chance(Decoding(seed=3, temperature=0.1), "p", 0, 0)
    others = {chance(Decoding(seed=4), "p", 0, 0), chance(decoding, "q", 0, 0), chance(decoding, "p", 1, 0)}
    assert len({here, chance(decoding, "p", 0, 1), *others}) == 5
    assert here == derive(3, "reply", "p", 0, 0)
    assert derive(3, "reply") == int(hashlib.sha256(b"3\x1fstr:reply").hexdigest()[:16], 16) >> 1


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_rows_drawn_in_parts_are_drawn_as_a_whole(monkeypatch: pytest.MonkeyPatch, top_p: float) -> None:
    logits = torch.randn(50, 3_000, generator=torch.Generator().manual_seed(2))
    drawn = []
    for n in (10**9, 7 * 3_000, 1):
        monkeypatch.setattr(sampling, "_AT_ONCE", n)
        drawn.append(pick(logits, chances(50), temperature=0.9, top_p=top_p).tolist())
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"n_draws": 0}, {"stop": ("",)}],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"`{next(iter(wrong))}` must be"):
        validate_decoding(Decoding(**wrong))  # type: ignore[arg-type]
