"""`screentest power`: one question, one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import jsonl
from stories import Ran, screentest

from harness.experiment.planning.pilot_data import read_pilot_file


def power(tmp_path: Path, *arguments: object) -> Ran:
    return screentest("power", *arguments, home=tmp_path / "home")


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Two variants, 20 films of four prompts, two draws; one value is missing."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(80):
        film = float(np.sin(prompt // 4))
        for variant, shift in (("sft", 0.4 + 0.5 * film), ("base", 0.0)):
            for draw in range(2):
                value = None if (prompt, variant, draw) == (7, "sft", 0) else round(float(rng.normal() + shift), 6)
                row = {"prompt_id": f"p{prompt}", "variant": variant, "draw": draw, "value": value}
                rows.append(row | {"cluster": f"m{prompt // 4}"})
    return jsonl(tmp_path / "scores.jsonl", *rows)


# ── each from the others ─────────────────────────────────────────────────────────────────────────────────────────────


def test_prompts_effect_and_power_of_paired_scores_fit_together(tmp_path: Path) -> None:
    film = ("--prompts-per-film", 5, "--icc", 0.1)
    ran = power(tmp_path, "paired", "--sd", 1.2, "--effect", 0.5, *film)
    assert ran.stdout == "To show a true difference of 0.5 with power 80%, judge 75 prompts from 15 clusters.\n"
    assert ran.stderr == ""
    size = power(tmp_path, "paired", "--sd", 1.2, "--effect", 0.5, *film, "--json").json
    assert (size["n"], size["n_clusters"]) == (75, 15)
    seen = power(tmp_path, "paired", "--sd", 1.2, "--prompts", 75, *film, "--json").json
    assert seen["effect"] == pytest.approx(0.5, rel=0.02)
    surely = power(tmp_path, "paired", "--sd", 1.2, "--prompts", 75, "--effect", 0.5, *film, "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.02)
    more = power(tmp_path, "paired", "--sd", 1.2, "--effect", 0.5, *film, "--power", 0.95, "--tests", 4, "--json").json
    assert more["n"] > 75


def test_prompts_and_power_of_detectability_fit_together(tmp_path: Path) -> None:
    ran = power(tmp_path, "detectability", "--auc", 0.65)
    assert ran.stdout.startswith(
        "To show with power 80% that replies told 65% of the time are told from people's, take "
    )
    assert "320" in ran.stdout
    size = power(tmp_path, "detectability", "--auc", 0.65, "--json").json["n"]
    seen = power(tmp_path, "detectability", "--prompts", size, "--json").json
    assert seen["effect"] == pytest.approx(0.65, abs=0.01)
    surely = power(tmp_path, "detectability", "--auc", 0.65, "--prompts", size, "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.02)
    assert "must lie between 0.5" in power(tmp_path, "detectability", "--auc", 0.5).stderr


def test_votes_share_and_power_fit_together(tmp_path: Path) -> None:
    panel = ("--ties", 0.25, "--votes-per-rater", 50, "--icc", 0.02)
    ran = power(tmp_path, "votes", "--win-share", 0.6, *panel)
    assert ran.stdout == (
        "To show that 60% of decisive votes are won, with power 80%, collect 512 votes (25% of them ties).\n"
    )
    seen = power(tmp_path, "votes", "--votes", 512, *panel, "--json").json
    assert seen["effect"] == pytest.approx(0.6, abs=0.001)
    surely = power(tmp_path, "votes", "--votes", 512, "--win-share", 0.6, *panel, "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.005)


def test_seeds_are_planned_from_what_is_known_of_their_scatter(tmp_path: Path) -> None:
    known = ("seeds", "--sd", 0.2, "--seed-share", 0.5, "--films", 20)
    ran = power(tmp_path, *known, "--effect", 0.15)
    assert ran.stdout == (
        "To show a true difference of 0.15 with power 80%, train 4 seeds and judge them on 20 clusters.\n"
    )
    assert power(tmp_path, *known, "--seeds", 5, "--json").json["effect"] == pytest.approx(0.143, abs=0.001)


def test_films_effect_and_power_of_a_pilot_fit_together(tmp_path: Path, scores: Path) -> None:
    size = power(tmp_path, "simulate", scores, "--effect", 0.4, "--json").json
    surely = power(tmp_path, "simulate", scores, "--effect", 0.4, "--films", size["n_clusters"], "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.04)
    seen = power(tmp_path, "simulate", scores, "--films", size["n_clusters"], "--json").json
    assert seen["effect"] == pytest.approx(0.4, rel=0.05)
    assert size["n"] == pytest.approx(4 * size["n_clusters"], abs=1)
    again = power(tmp_path, "simulate", scores, "--effect", 0.4, "--json").json
    assert again == size


def test_a_pilot_is_described_beside_the_answer(tmp_path: Path, scores: Path) -> None:
    ran = power(tmp_path, "simulate", scores, "--films", 40)
    assert ran.stdout.startswith("40 clusters like the pilot's (about 160 prompts) show a true difference of ")
    assert "pilot: 80 prompts, 20 clusters; sft − base" in ran.stderr


# ── pilots ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_votes_become_prompt_means_around_one_half(tmp_path: Path) -> None:
    vote = {"prompt_id": "p", "cluster": "m"}
    file = jsonl(
        tmp_path / "votes.jsonl",
        vote | {"left": "a", "right": "b", "winner": "left"},
        vote | {"left": "b", "right": "a", "winner": "right"},
        vote | {"left": "b", "right": "a", "winner": "left"},
        vote | {"left": "a", "right": "b", "winner": "tie"},
        {"prompt_id": "q", "left": "a", "right": "b", "winner": "both_bad"},
    )
    pilot = read_pilot_file(file, treatment="a", control="b")
    assert pilot.rows.values.tolist() == pytest.approx([(1 + 1 + 0 + 0.5) / 4 - 0.5, 0.0])
    assert pilot.rows.n_clusters == 2


def test_the_examples_of_the_help_run(tmp_path: Path) -> None:
    """Every example that needs no run of one's own, as it stands there."""
    for verb in ("paired", "votes", "seeds"):
        text = " ".join(power(tmp_path, verb, "--help").stdout.split())
        (example,) = [part for part in text.split("screentest power ")[1:] if not part.startswith("OPTIONS")][-1:]
        words = example.split(" What do ")[0].split()
        ran = power(tmp_path, *words)
        assert (ran.code, ran.stdout[-2:]) == (0, ".\n"), words
