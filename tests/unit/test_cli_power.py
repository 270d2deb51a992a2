"""`screentest power`: one question, one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stories import Ran, screentest

from pipelines.pilot import read_pilot_file


def power(tmp_path: Path, *arguments: object) -> Ran:
    return screentest("power", *arguments, home=tmp_path / "home")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


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
    return write(tmp_path / "scores.jsonl", rows)


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = []
    for prompt in range(40):
        for rater in ("ann", "ben", "cem"):
            left, right = ("a", "b") if rng.random() < 0.5 else ("b", "a")
            winner = str(rng.choice(["left", "right", "tie", "both_bad"], p=[0.4, 0.4, 0.1, 0.1]))
            row = {"prompt_id": f"p{prompt}", "left": left, "right": right, "winner": winner, "rater": rater}
            rows.append(row | {"cluster": f"m{prompt // 2}"})
    return write(tmp_path / "votes.jsonl", rows)


# ── each from the others ─────────────────────────────────────────────────────────────────────────────────────────────


def test_prompts_effect_and_power_of_paired_scores_fit_together(tmp_path):
    film = ("--prompts-per-film", 5, "--icc", 0.1)
    ran = power(tmp_path, "paired", "--sd", 1.2, "--effect", 0.5, *film)
    assert ran.stdout == "To show a true difference of 0.5 with power 80%, judge 75 prompts from 15 films.\n"
    assert ran.stderr == ""
    size = power(tmp_path, "paired", "--sd", 1.2, "--effect", 0.5, *film, "--json").json
    assert (size["n"], size["n_films"]) == (75, 15)
    seen = power(tmp_path, "paired", "--sd", 1.2, "--prompts", 75, *film, "--json").json
    assert seen["effect"] == pytest.approx(0.5, rel=0.02)
    surely = power(tmp_path, "paired", "--sd", 1.2, "--prompts", 75, "--effect", 0.5, *film, "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.02)
    more = power(tmp_path, "paired", "--sd", 1.2, "--effect", 0.5, *film, "--power", 0.95, "--tests", 4, "--json").json
    assert more["n"] > 75


def test_votes_share_and_power_fit_together(tmp_path):
    panel = ("--ties", 0.25, "--votes-per-rater", 50, "--icc", 0.02)
    ran = power(tmp_path, "votes", "--win-share", 0.6, *panel)
    assert ran.stdout == (
        "To show that 60% of decisive votes are won, with power 80%, collect 512 votes (25% of them ties).\n"
    )
    seen = power(tmp_path, "votes", "--votes", 512, *panel, "--json").json
    assert seen["effect"] == pytest.approx(0.6, abs=0.001)
    surely = power(tmp_path, "votes", "--votes", 512, "--win-share", 0.6, *panel, "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.005)


def test_seeds_are_planned_from_what_is_known_of_their_scatter(tmp_path):
    known = ("seeds", "--sd", 0.2, "--seed-share", 0.5, "--films", 20)
    ran = power(tmp_path, *known, "--effect", 0.15)
    assert ran.stdout == (
        "To show a true difference of 0.15 with power 80%, train 4 seeds and judge them on 20 films.\n"
    )
    assert power(tmp_path, *known, "--seeds", 5, "--json").json["effect"] == pytest.approx(0.143, abs=0.001)


def test_films_effect_and_power_of_a_pilot_fit_together(tmp_path, scores):
    size = power(tmp_path, "simulate", scores, "--effect", 0.4, "--json").json
    surely = power(tmp_path, "simulate", scores, "--effect", 0.4, "--films", size["n_films"], "--json").json
    assert surely["power"] == pytest.approx(0.8, abs=0.04)
    seen = power(tmp_path, "simulate", scores, "--films", size["n_films"], "--json").json
    assert seen["effect"] == pytest.approx(0.4, rel=0.05)
    assert size["n"] == pytest.approx(4 * size["n_films"], abs=1)
    again = power(tmp_path, "simulate", scores, "--effect", 0.4, "--json").json
    assert again == size


def test_a_pilot_is_described_beside_the_answer(tmp_path, scores):
    ran = power(tmp_path, "simulate", scores, "--films", 40)
    assert ran.stdout.startswith("40 films like the pilot's (about 160 prompts) show a true difference of ")
    assert "pilot: 80 prompts, 20 films; sft − base" in ran.stderr


# ── pilots ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_draws_are_averaged_and_arms_joined_by_prompt(scores):
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    pilot = read_pilot_file(scores, treatment="sft", control="base")
    of = {v: [r["value"] for r in rows if r["prompt_id"] == "p3" and r["variant"] == v] for v in ("sft", "base")}
    prompts = sorted({r["prompt_id"] for r in rows})
    assert pilot.differences[prompts.index("p3")] == pytest.approx(np.mean(of["sft"]) - np.mean(of["base"]))
    turned = read_pilot_file(scores, treatment="base", control="sft")
    assert turned.differences == pytest.approx(-pilot.differences)


def test_votes_become_prompt_means_around_one_half(tmp_path):
    vote = {"prompt_id": "p", "cluster": "m"}
    file = write(
        tmp_path / "votes.jsonl",
        [
            vote | {"left": "a", "right": "b", "winner": "left"},
            vote | {"left": "b", "right": "a", "winner": "right"},
            vote | {"left": "b", "right": "a", "winner": "left"},
            vote | {"left": "a", "right": "b", "winner": "tie"},
            {"prompt_id": "q", "left": "a", "right": "b", "winner": "both_bad"},
        ],
    )
    pilot = read_pilot_file(file, treatment="a", control="b")
    assert pilot.differences.tolist() == pytest.approx([(1 + 1 + 0 + 0.5) / 4 - 0.5, 0.0])
    assert len(set(pilot.clusters)) == 2


def test_a_pilot_of_votes_plans_films(tmp_path, votes):
    ran = power(tmp_path, "simulate", votes, "--effect", 0.1)
    assert ran.code == 0, ran.stderr
    assert "films like the pilot's" in ran.stdout
    assert "in share of votes above one half" in ran.stderr


# ── what cannot be answered ──────────────────────────────────────────────────────────────────────────────────────────

WRONG = {
    "paired: nothing asked": ("paired", "--sd", 1),
    "paired: everything given": ("paired", "--sd", 1, "--effect", 1, "--prompts", 9, "--power", 0.9),
    "paired: no spread": ("paired", "--sd", 0, "--effect", 1),
    "paired: negative effect": ("paired", "--sd", 1, "--effect", -1),
    "paired: one prompt": ("paired", "--sd", 1, "--prompts", 1),
    "paired: impossible ICC": ("paired", "--sd", 1, "--effect", 1, "--icc", 2),
    "paired: sure of everything": ("paired", "--sd", 1, "--effect", 1, "--power", 1),
    "votes: nothing asked": ("votes",),
    "votes: even": ("votes", "--win-share", 0.5),
    "votes: too few": ("votes", "--votes", 3),
    "votes: ties only": ("votes", "--win-share", 0.6, "--ties", 1),
    "votes: level": ("votes", "--win-share", 0.6, "--level", 0.2),
    "seeds: nothing known": ("seeds", "--effect", 1),
    "seeds: no films": ("seeds", "--sd", 1, "--effect", 1),
    "seeds: two": ("seeds", "--sd", 1, "--films", 20, "--seeds", 2),
    "seeds: never": ("seeds", "--sd", 1, "--films", 20, "--effect", 0.01),
    "seeds: all of the scatter": ("seeds", "--sd", 1, "--films", 20, "--seed-share", 1, "--effect", 1),
    "seeds: no run": ("seeds", "latest", "--measure", "heldout_loss", "--effect", 1),
    "simulate: no file": ("simulate", "{bad}/none.jsonl", "--effect", 1),
    "simulate: no run": ("simulate", "latest", "--measure", "heldout_loss", "--effect", 1),
    "simulate: empty": ("simulate", "{bad}/empty.jsonl", "--effect", 1),
    "simulate: neither scores nor votes": ("simulate", "{bad}/other.jsonl", "--effect", 1),
    "simulate: not JSON": ("simulate", "{bad}/text.jsonl", "--effect", 1),
    "simulate: not UTF-8": ("simulate", "{bad}/latin.jsonl", "--effect", 1),
    "simulate: three variants": ("simulate", "{bad}/three.jsonl", "--effect", 1),
    "simulate: unknown variant": ("simulate", "{bad}/three.jsonl", "--treatment", "x", "--control", "a", "--effect", 1),
    "simulate: one variant twice": (
        "simulate", "{bad}/three.jsonl", "--treatment", "a", "--control", "a", "--effect", 1,
    ),
    "simulate: never compared": ("simulate", "{bad}/votes.jsonl", "--treatment", "a", "--control", "c", "--effect", 1),
    "simulate: unknown winner": ("simulate", "{bad}/winner.jsonl", "--effect", 0.1),
    "simulate: vote without side": ("simulate", "{bad}/side.jsonl", "--effect", 0.1),
    "simulate: no prompt in common": ("simulate", "{bad}/apart.jsonl", "--effect", 1),
    "simulate: two films": ("simulate", "{bad}/films.jsonl", "--effect", 1),
    "simulate: no variance": ("simulate", "{bad}/flat.jsonl", "--films", 5),
}  # fmt: skip


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")

    def score(prompt: str, variant: str, value: float, **more: str) -> dict[str, Any]:
        return {"prompt_id": prompt, "variant": variant, "value": value, **more}

    def vote(left: str, right: str, winner: str) -> dict[str, Any]:
        return {"prompt_id": "p", "left": left, "right": right, "winner": winner}

    (folder / "empty.jsonl").write_text("\n")
    (folder / "text.jsonl").write_text("hello\n")
    (folder / "latin.jsonl").write_bytes('{"prompt_id": "é"}'.encode("latin-1"))
    write(folder / "other.jsonl", [{"prompt_id": "p", "marks": 3}])
    write(folder / "three.jsonl", [score("p", v, 1) for v in ("a", "b", "c")])
    write(folder / "votes.jsonl", [vote("a", "b", "left"), vote("b", "c", "left")])
    write(folder / "winner.jsonl", [vote("a", "b", "A")])
    write(folder / "side.jsonl", [{"prompt_id": "p", "left": "a", "winner": "left"}])
    write(folder / "apart.jsonl", [score("p", "a", 1), score("q", "b", 1)])
    pairs = [(p, v) for p in range(6) for v in ("a", "b")]
    write(folder / "films.jsonl", [score(f"p{p}", v, p * (v == "a"), cluster=f"m{p % 2}") for p, v in pairs])
    write(folder / "flat.jsonl", [score(f"p{p}", v, float(v == "a"), cluster=f"m{p}") for p, v in pairs])
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    from stories import fresh_home

    return fresh_home(tmp_path_factory.mktemp("power") / "mlruns")


@pytest.mark.parametrize("case", WRONG)
def test_a_question_without_an_answer_is_refused_in_a_sentence(case, bad, home):
    ran = screentest("power", *(str(word).format(bad=bad) for word in WRONG[case]), home=home)
    assert (ran.code, ran.stdout) == (2, ""), ran.stderr
    (line,) = [text for text in ran.stderr.splitlines() if text.startswith("error: ")]
    assert "`" in line
    assert "Traceback" not in ran.stderr


def test_the_examples_of_the_help_run(tmp_path):
    """Every example that needs no run of one's own, as it stands there."""
    for verb in ("paired", "votes", "seeds"):
        text = " ".join(power(tmp_path, verb, "--help").stdout.split())
        (example,) = [part for part in text.split("screentest power ")[1:] if not part.startswith("OPTIONS")][-1:]
        words = example.split(" What do ")[0].split()
        ran = power(tmp_path, *words)
        assert (ran.code, ran.stdout[-2:]) == (0, ".\n"), words
