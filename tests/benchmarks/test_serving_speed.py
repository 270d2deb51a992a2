"""The service over bare transformers, as ratios measured in one run on the embedded model.

`pytest tests/benchmarks/test_serving_speed.py -s` prints them. The service is a process of its own; bare `generate`
runs batches of eight, sorted by length, and useful tokens count (nothing after an end token). Throughput is per second
of processor time, of the service's process and of this one, with one thread each: on a machine that has nothing else to
do that is the time on the clock, and on a busy one it is what can be compared. Clock times are printed beside.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import torch
from embedded import embedded_adapter, free_port
from openai import OpenAI
from servers import wait_until_it_answers
from stories import command, environment, fresh_home

from harness.models.bases import base_folder, load_tokenizer, resolve_base
from harness.models.chat_templates import render
from harness.registry import publish
from harness.settings import Settings
from harness.store.tracking import Tracking

pytestmark = [pytest.mark.model, pytest.mark.slow]

N_CLIENTS, N_PROMPTS, N_TOKENS = 8, 32, 32
LINES = (
    "Where were you last night?",
    "You said you'd call. I waited for an hour in the rain, and then I walked home, and nobody came.",
    "Is that blood?",
    "Drive. Don't stop for anything, don't look back, and when you get there don't talk to anybody but the old man.",
    "What do you want from me?",
)
CHATS = [
    [
        {"role": "system", "content": "Continue the film dialogue with the next line only."},
        {"role": "user", "content": f"{LINES[i % len(LINES)]} ({i})"},
    ]
    for i in range(N_PROMPTS)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    url: str
    process: psutil.Process

    def processor_time(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    processor: float  # useful tokens per second of processor time
    clock: float  # per second on the clock

    def __str__(self) -> str:
        return f"{self.processor:.1f} tokens/s ({self.clock:.1f} by the clock)"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`base`, `film/1` and `film/2` of the embedded model."""
    root = tmp_path_factory.mktemp("speed")
    home = fresh_home(root / "home")
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    for seed in (0, 1):
        publish(tracking, embedded_adapter(root / f"a{seed}", seed=seed), name="film", card="# card")
    port = free_port()
    process = subprocess.Popen(
        command("serve", "--port", port, "--max-batch", N_CLIENTS),
        env=environment(home, {"OMP_NUM_THREADS": "1"}),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}")
        yield Served(url=f"http://127.0.0.1:{port}/v1", process=psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(60)


def _served_rate(served: Served, models: Sequence[str]) -> Rate:
    """Eight clients that share the prompts."""
    with OpenAI(base_url=served.url, api_key="none", max_retries=0) as client, ThreadPoolExecutor(N_CLIENTS) as pool:

        def ask(i: int) -> int:
            body: dict[str, Any] = {"model": models[i % len(models)], "messages": CHATS[i], "seed": i}
            done = client.chat.completions.create(**body, max_tokens=N_TOKENS, temperature=0.8, top_p=0.95)
            return done.usage.completion_tokens if done.usage else 0

        list(pool.map(ask, range(N_CLIENTS)))  # adapters are loaded, threads are there
        worked, began = served.processor_time(), time.perf_counter()
        n_tokens = sum(pool.map(ask, range(N_PROMPTS)))
        worked, passed = served.processor_time() - worked, time.perf_counter() - began
    return Rate(processor=n_tokens / worked, clock=n_tokens / passed)


@pytest.fixture(scope="module")
def bare() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base_folder(resolve_base("embedded")), dtype=torch.float32).eval()


def _bare_rate(bare: Any) -> Rate:
    tokenizer = load_tokenizer(resolve_base("embedded"))
    prompts = sorted((render(tokenizer, chat) for chat in CHATS), key=len)
    torch.manual_seed(0)
    n_tokens, worked, began = 0, time.process_time(), time.perf_counter()
    for start in range(0, len(prompts), N_CLIENTS):
        rows = prompts[start : start + N_CLIENTS]
        width = max(map(len, rows))
        out = bare.generate(
            torch.tensor([[0] * (width - len(r)) + list(r) for r in rows]),
            attention_mask=torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows]),
            max_new_tokens=N_TOKENS,
            do_sample=True,
            temperature=0.8,
            top_p=0.95,
            top_k=0,
            eos_token_id=2,
            pad_token_id=0,
        )
        n_tokens += int((out[:, width:] != 0).sum())
    worked, passed = time.process_time() - worked, time.perf_counter() - began
    return Rate(processor=n_tokens / worked, clock=n_tokens / passed)


def test_eight_clients_get_what_bare_generate_gives(served: Served, bare: Any) -> None:
    plain, ours = _bare_rate(bare), _served_rate(served, ["base"])
    ratio = ours.processor / plain.processor
    print(f"\n8 clients: {ours}, bare generate {plain}, ratio {ratio:.2f}")
    assert ratio >= 0.85


def test_two_adapters_in_a_batch_are_nearly_as_fast_as_one(served: Served) -> None:
    one, two = _served_rate(served, ["film/1"]), _served_rate(served, ["film/1", "film/2"])
    ratio = two.processor / one.processor
    print(f"\n8 clients, one adapter: {one}, two mixed: {two}, ratio {ratio:.2f}")
    assert ratio >= 0.8


def test_the_first_token_comes_soon_after_the_prompt_is_read(served: Served, bare: Any) -> None:
    chat: Any = [CHATS[0][0], {"role": "user", "content": " ".join(LINES * 3)}]
    ids = torch.tensor([render(load_tokenizer(resolve_base("embedded")), chat)])
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    with OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        for _ in range(9):  # interleaved
            began = time.perf_counter()
            with torch.inference_mode():
                bare(input_ids=ids, use_cache=True, logits_to_keep=1)
            times["bare"].append(time.perf_counter() - began)
            began = time.perf_counter()
            stream: Any = client.chat.completions.create(
                model="base",
                messages=chat,
                max_tokens=4,
                seed=1,
                stream=True,
            )
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    times["ours"].append(time.perf_counter() - began)
                    break
            stream.close()
    bare_time, ours = statistics.median(times["bare"]), statistics.median(times["ours"])
    print(
        f"\nfirst token of {ids.shape[1]}: {ours * 1000:.0f} ms, bare prefill {bare_time * 1000:.0f} ms, "
        f"ratio {ours / bare_time:.2f}"
    )
    assert ours < 1.5 * bare_time
