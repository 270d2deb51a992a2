"""An adapter that plain TRL made on question answering: README's `compare` line gives a verdict on right answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from stories import fresh_home, screentest

from harness.models.bases import base_folder, resolve_base

pytestmark = [pytest.mark.model, pytest.mark.slow]

TOWNS = ("Paris", "Rome", "Oslo", "Vienna", "Lisbon", "Cairo", "Lima", "Seoul", "Delhi", "Dublin", "Prague", "Madrid")
NAMES = ("Anna", "Bruno", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Irina", "Jonas", "Karin", "Luca")
N_TRAIN, N_TEST = 200, 40


def questions(n: int, *, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = [(rng.choice(NAMES), rng.choice(TOWNS), rng.randint(20, 60)) for _ in range(n)]
    return [
        {
            "prompt": f"{name}, {age}, lives in {town}. Where does {name} live?", "completion": town, "cluster": name,
        }
        for name, town, age in rows
    ]  # fmt: skip


def trained_by_trl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """As TRL's documentation has it, on the last layers, so that it takes a minute."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    chats = [
        {
            side: [{"role": role, "content": row[side]}]
            for side, role in (("prompt", "user"), ("completion", "assistant"))
        }
        for row in rows
    ]
    trainer = SFTTrainer(
        model=str(base_folder(resolve_base("embedded"))),
        args=SFTConfig(
            output_dir=str(folder), per_device_train_batch_size=8, num_train_epochs=1, learning_rate=2e-3,
            save_steps=20, report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(chats),
        peft_config=LoraConfig(
            r=8,
            target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
            layers_to_transform=list(range(20, 30)),
        ),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(folder))
    return folder


@pytest.mark.filterwarnings("ignore")  # TRL's, datasets' and torch's own
def test_an_adapter_of_trl_is_compared_as_the_readme_says(tmp_path: Path) -> None:
    adapter = trained_by_trl(tmp_path / "adapter", questions(N_TRAIN, seed=1))
    assert (adapter / "training_args.bin").is_file()
    checkpoint = next(adapter.glob("checkpoint-*"))
    assert (checkpoint / "optimizer.pt").is_file()
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in questions(N_TEST, seed=2)))
    home = fresh_home(tmp_path / "home")
    ran = screentest("compare", "base", adapter, "--data", data, "--prompts", N_TEST, "--json", home=home)
    (match,) = [e for e in ran.json["estimates"] if e["name"] == "exact_match" and "contrast" in e]
    assert match["verdict"] == "better"
    assert (match["n"], match["n_missing"]) == (N_TEST, 0)
    table, work = ran.stderr.index("40 of 40 prompts have one"), ran.stderr.index("Generate")
    assert table < work
    assert "tokens/s" in ran.stderr
    # A checkpoint's folder, with its optimizer's pickle, is an adapter too.
    checked = screentest("compare", "base", checkpoint, "--data", data, "--dry-run", "--json", home=home)
    assert not [check for check in checked.json["checks"] if check["is_lacking"]]
