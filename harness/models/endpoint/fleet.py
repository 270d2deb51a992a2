"""Replies of one served variant from several equal servers: requests are dealt in turn, each server at its own pace."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.errors import UnavailableError
from harness.models.bases import base_folder
from harness.models.endpoint.model import EndpointModel
from harness.models.metering import Meter
from harness.models.protocol import (
    Capability,
    Continuation,
    ContinuationRequest,
    OnProgress,
    OnReply,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
)
from harness.types import BaseModel, Decoding, Variant

BASE_NAME = "base"  # of the bare base, as `screentest serve` names it


def served_name(variant: Variant) -> str:
    """The name under which `screentest serve`, with either engine, offers a variant of the registry.

    Raises:
        UnavailableError: its adapter stands in no registry, so no server can know it.
    """
    if variant.adapter is None:
        return BASE_NAME
    if not variant.adapter.version:
        raise UnavailableError(
            f"`{variant.name}` must be a registered adapter to be asked of an endpoint, got the folder of one; "
            "register it, or leave the endpoints out"
        )
    return f"{variant.adapter.name}/{variant.adapter.version}"


def require_served(url: str, variant: Variant, *, key_variable: str = "OPENAI_API_KEY") -> None:
    """Ask a server whether it offers a variant, before it is asked anything else.

    Every server calls its base `base`, so where it says which one that is, it must be the variant's. An adapter is
    known by its name: a server that reads another registry may mean another one.

    Raises:
        UnavailableError: it does not, or it does not answer.
    """
    name = served_name(variant)
    from openai import OpenAI, OpenAIError

    try:
        client = OpenAI(base_url=url, api_key=os.environ.get(key_variable) or "none", max_retries=2, timeout=30)
        offered = {model.id: model for model in client.models.list()}
    except OpenAIError as err:
        raise UnavailableError(
            f"`{url}` must list its models, got {type(err).__name__}; check address and key"
        ) from err
    if name not in offered:
        listed = ", ".join(sorted(offered)[:8]) or "none"
        raise UnavailableError(f"`{url}` must serve `{name}`, which it does not list; it lists {listed}")
    root = getattr(offered[name], "root", None)
    if variant.base is not None and variant.adapter is None and root is not None:
        known = (variant.base.source, str(base_folder(variant.base)))
        if root not in known:
            raise UnavailableError(f"`{url}` must serve the base `{known[0]}`, got `{root}`; ask a server of that base")


class FleetModel:
    """Equal servers as one model; implements `LanguageModel` with `generate` alone."""

    supports: frozenset[Capability] = frozenset({"generate"})
    base: BaseModel | None = None

    def __init__(self, replicas: Sequence[EndpointModel]) -> None:
        """Every replica serves the same weights under the same name."""
        self._replicas = list(replicas)

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """One reply per request, in their order; `on_reply` and `on_progress` are called one at a time.

        Raises:
            UnavailableError: a server cannot be used; what the others answer meanwhile is kept.
        """
        n = len(self._replicas)
        meter, lock = Meter(len(requests), "replies", on_progress), threading.Lock()

        def keep(reply: Reply) -> None:
            with lock:
                if on_reply is not None:
                    on_reply(reply)
                meter.advance(1, reply.n_tokens or 0)

        def ask(place: int) -> list[Reply]:
            return self._replicas[place].generate(requests[place::n], decoding=decoding, on_reply=keep)

        with ThreadPoolExecutor(n) as pool:
            dealt = list(pool.map(ask, range(n)))
        return [dealt[i % n][i // n] for i in range(len(requests))]

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """Not there: raises UnavailableError."""
        return self._replicas[0].continuation_logprobs(requests, on_progress=on_progress)

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """Not there: raises UnavailableError."""
        return self._replicas[0].option_probabilities(requests, on_progress=on_progress)


def fleet_of(
    variant: Variant, urls: Sequence[str], *, connect: Callable[[str, str], EndpointModel]
) -> EndpointModel | FleetModel:
    """The servers that answer for a variant of the registry; every one of them has said that it serves it.

    Args:
        variant: base or registered adapter.
        urls: base URLs, e.g. `http://localhost:8000/v1`.
        connect: makes the model behind a URL and a served name.

    Raises:
        UnavailableError: a server does not list the variant, or does not answer.
    """
    name = served_name(variant)
    for url in urls:
        require_served(url, variant)
    replicas = [connect(url, name) for url in urls]
    return replicas[0] if len(replicas) == 1 else FleetModel(replicas)
