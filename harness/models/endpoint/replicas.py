"""Load balancing: requests for one served variant go in turn to several equal servers, each at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.errors import InputError
from harness.models.endpoint.connecting import list_models
from harness.models.endpoint.endpoint_model import EndpointModel
from harness.models.metering import Meter
from harness.models.protocol import GeneratesOnly, OnProgress, OnReply, Reply, ReplyRequest
from harness.types import Decoding, Variant

KEY_VARIABLE = "OPENAI_API_KEY"  # as of every endpoint that names no other
BASE_NAME = "base"  # of the bare base, as `screentest serve` names it


def served_name(variant: Variant) -> str:
    """The name under which `screentest serve`, with either engine, offers a variant of the registry.

    Raises InputError: its adapter stands in no registry, so no server can know it.
    """
    if variant.adapter is None:
        return BASE_NAME
    if not variant.adapter.version:
        raise InputError(
            f"`{variant.name}` must be a registered adapter to be asked of a server, got the folder of one; register "
            "it, or leave the servers out"
        )
    return f"{variant.adapter.name}/{variant.adapter.version}"


def require_served(urls: Sequence[str], variants: Iterable[Variant]) -> None:
    """Ask every server whether it offers every variant, before it is asked anything else.

    Every server calls its base `base`, and another registry may have another `film/3`: `screentest serve` lists
    digests, which must be the variant's. vLLM lists its base's name, which must be the variant's hub id if it has one.

    Args:
        variants: bases and registered adapters; those of other kinds have servers of their own and are left out.

    Raises:
        InputError: a server offers another model under that name, or none.
        UnavailableError: a server does not list its models.
    """
    asked = [variant for variant in variants if variant.kind == "model"]
    for url in urls:
        offered = list_models(url, key_variable=KEY_VARIABLE)
        for variant in asked:
            _require_offered(url, offered, variant)


def _require_offered(url: str, offered: Mapping[str, Mapping[str, Any]], variant: Variant) -> None:
    name = served_name(variant)
    if name not in offered:
        listed = ", ".join(sorted(offered)[:8]) or "none"
        raise InputError(f"`{url}` must serve `{name}`, which it does not list; it lists {listed}")
    digest, root = (offered[name].get(field) for field in ("digest", "root"))
    wanted = variant.adapter.digest if variant.adapter is not None else variant.base.digest if variant.base else None
    if digest is not None and digest != wanted:
        raise InputError(
            f"`{url}` must serve the `{name}` of this registry ({(wanted or '')[:12]}), got another ({digest[:12]})"
        )
    is_hub = variant.adapter is None and variant.base is not None and variant.base.revision is not None
    if digest is None and root is not None and is_hub and variant.base is not None and root != variant.base.source:
        raise InputError(f"`{url}` must serve the base `{variant.base.source}`, got `{root}`")


class ReplicatedModel(GeneratesOnly):
    """Equal servers as one model; implements `LanguageModel` with `generate` alone."""

    def __init__(self, replicas: Sequence[EndpointModel]) -> None:
        """Every replica serves the same weights under the same name."""
        self.name = replicas[0].name
        self._replicas = list(replicas)

    @property
    def refused(self) -> Mapping[str, str]:
        """Fields that a server has refused and that were left out from then on, with its own words."""
        return {name: why for replica in self._replicas for name, why in replica.refused.items()}

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """One reply per request, in their order; `on_reply` and `on_progress` are called one at a time.

        Raises UnavailableError: a server cannot be used; what the others answer meanwhile is kept.
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


def replicated(
    variant: Variant, urls: Sequence[str], *, connect: Callable[[str, str], EndpointModel]
) -> EndpointModel | ReplicatedModel:
    """The servers that answer for a variant of the registry; every one of them has said that it serves it.

    Args:
        connect: makes the model behind a URL and a served name.

    Raises:
        InputError: a server does not offer the variant. UnavailableError: it does not answer.
    """
    require_served(urls, [variant])
    name = served_name(variant)
    replicas = [connect(url, name) for url in urls]
    return replicas[0] if len(replicas) == 1 else ReplicatedModel(replicas)
