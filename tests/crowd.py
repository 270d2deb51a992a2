"""Many clients at once, some of whom hang up: `from crowd import Plan, drive, say_alone`."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

_LETTERS = "abcdefghij klmno"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the clients do."""

    n_clients: int
    models: Sequence[str]
    n_bodies: int = 200  # different requests; clients draw from them
    share_leaving: float = 0.1  # of the requests: streamed, and hung up after the first piece
    seconds: float | None = None  # how long; or
    n_each: int | None = None  # how many requests of each client
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of them."""

    texts: list[tuple[int, str]] = field(default_factory=list)  # (body, whole reply), in the order of arrival
    n_left: int = 0
    n_refused: int = 0  # 429: the client waited and asked again
    failures: list[str] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)  # (seconds, bytes)


def bodies(plan: Plan) -> list[dict[str, Any]]:
    """Requests of different model, prompt, length, temperature and form."""
    rng = random.Random(plan.seed)
    return [
        {
            "model": plan.models[i % len(plan.models)],
            "messages": [{"role": "user", "content": "".join(rng.choices(_LETTERS, k=rng.randint(1, 120)))}],
            "max_tokens": rng.randint(1, 40),
            "temperature": rng.choice([0.0, 0.8, 1.2]),
            "top_p": rng.choice([1.0, 0.9]),
            "seed": i,
            "stream": bool(i % 2),
        }
        for i in range(plan.n_bodies)
    ]


def drive(url: str, plan: Plan, *, resident: Callable[[], int] | None = None) -> Outcome:
    """Run the plan; `resident` gives the server's memory, read once a second."""
    return asyncio.run(_drive(url, plan, resident))


def say_alone(url: str, plan: Plan, which: Sequence[int]) -> dict[int, str]:
    """The reply to each of these requests when nobody else asks."""
    asked = bodies(plan)

    async def run() -> dict[int, str]:
        async with httpx.AsyncClient(base_url=url, timeout=None) as client:
            return {i: await _whole(client, asked[i]) for i in which}

    return asyncio.run(run())


async def _drive(url: str, plan: Plan, resident: Callable[[], int] | None) -> Outcome:
    outcome, asked = Outcome(), bodies(plan)
    end = None if plan.seconds is None else time.monotonic() + plan.seconds
    limits = httpx.Limits(max_connections=plan.n_clients + 8)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
        watching = asyncio.create_task(_watch(outcome, resident)) if resident else None
        await asyncio.gather(*(_client(client, plan, asked, number, end, outcome) for number in range(plan.n_clients)))
        if watching is not None:
            watching.cancel()
    return outcome


async def _watch(outcome: Outcome, resident: Callable[[], int]) -> None:
    began = time.monotonic()
    while True:
        outcome.resident.append((time.monotonic() - began, resident()))
        await asyncio.sleep(1)


async def _client(
    client: httpx.AsyncClient,
    plan: Plan,
    asked: Sequence[dict[str, Any]],
    number: int,
    end: float | None,
    outcome: Outcome,
) -> None:
    rng = random.Random(plan.seed * 100_003 + number)
    done = 0
    while (end is None or time.monotonic() < end) and (plan.n_each is None or done < plan.n_each):
        done += 1
        i = rng.randrange(len(asked))
        try:
            if rng.random() < plan.share_leaving:
                await _leave(client, asked[i])
                outcome.n_left += 1
            else:
                outcome.texts.append((i, await _whole(client, asked[i])))
        except httpx.HTTPStatusError as err:
            if err.response.status_code != 429:
                outcome.failures.append(f"{err.response.status_code} for {i}")
                continue
            outcome.n_refused += 1
            await asyncio.sleep(int(err.response.headers["retry-after"]))
        except httpx.HTTPError as err:
            outcome.failures.append(f"{type(err).__name__} for {i}")


async def _whole(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    if not body["stream"]:
        response = await client.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])
    pieces = []
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                pieces += [c["delta"].get("content") or "" for c in json.loads(line[6:])["choices"]]
    return "".join(pieces)


async def _leave(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    async with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
        response.raise_for_status()
        async for _ in response.aiter_bytes(64):
            return
