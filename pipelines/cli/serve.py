"""`screentest serve`: variants behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.errors import ConfigError
from harness.store.tracking import Tracking
from harness.terminal import bold, say
from pipelines.cli import options
from pipelines.cli.session import say_gpu_trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.serving.limits import ServingLimits
    from harness.serving.model_names import Variants

# What vLLM has no setting for, or one of its own that means something else.
_LOCAL_ONLY = ("queue", "per_minute", "max_connections", "timeout", "grace", "quantization", "log_text")


def serve(
    context: typer.Context,
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            help="`base`, `name@alias`, `name/version`. None: the base and all that the registry has for it."
        ),
    ] = None,
    base: Annotated[str, typer.Option(help="Base model: embedded, hub id or folder.")] = "embedded",
    revision: options.Revision = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is open to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    max_batch: Annotated[int, typer.Option(help="Replies decoded at once.", min=1)] = 16,
    queue: Annotated[int, typer.Option(help="Replies that may wait; beyond them clients get 429.", min=0)] = 64,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest reply; without it as long as the model's context has room for.", min=1)
    ] = None,
    max_adapters: Annotated[int, typer.Option(help="Adapters in memory at once.", min=1)] = 8,
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute of one client; none: no limit.")] = None,
    max_connections: Annotated[
        int, typer.Option(help="Connections at once, half of them at most of one client.", min=1)
    ] = 512,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a client to send a request, to read its answer, to stay idle.", min=0.1)
    ] = 10,
    grace: Annotated[float, typer.Option(help="Seconds to finish what runs when told to stop.", min=1)] = 60,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Precision; auto: float32 on the CPU, bfloat16 on CUDA."),
    ] = "auto",
    quantization: Annotated[
        Literal["none", "nf4"], typer.Option(help="Of the base; nf4 is what QLoRA recipes train on.")
    ] = "none",
    own_system: Annotated[
        bool,
        typer.Option(
            help="Ask adapters as they were trained: their system message, where a chat brings none; history cut."
        ),
    ] = True,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may ask, e.g. http://localhost:3000, or `*`; may be given again."),
    ] = None,
    log_text: Annotated[bool, typer.Option("--log-text", help="Log prompts and replies too.")] = False,
    engine: Annotated[Literal["local", "vllm"], typer.Option(help="`vllm` runs an installed vLLM.")] = "local",
    show: Annotated[bool, typer.Option("--print", help="With --engine vllm: print the command, run nothing.")] = False,
) -> None:
    """Serve variants behind OpenAI's API: chat, completions with log-probabilities, responses.

    screentest serve base film@champion

    The environment variable SCREENTEST_API_KEY, where set, is the key that clients must send.
    """
    import shlex

    from harness.models.bases import adaptation_of, resolve_base
    from harness.models.contracts import told
    from harness.serving.limits import ServingLimits
    from harness.serving.logs import RequestLog
    from harness.serving.model_names import BASE, Variants

    if show and engine != "vllm":
        raise ConfigError("`--print` shows vLLM's command; give `--engine vllm` with it")
    given = [name for name in _LOCAL_ONLY if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if engine == "vllm" and given:
        named = ", ".join(f"`--{name.replace('_', '-')}`" for name in given)
        raise ConfigError(
            f"{named} must be left out with `--engine vllm`, which is not told of it; see `vllm serve -h`"
        )
    limits = ServingLimits(
        max_batch=max_batch,
        max_queue=queue,
        max_tokens=max_tokens,
        max_adapters=max_adapters,
        per_minute=per_minute,
        max_connections=max_connections,
        timeout=timeout,
    )
    tracking = Tracking()
    served = Variants(tracking, resolve_base(base, revision=revision), names=variants or ())
    for note in adaptation_of(served.base).notes:
        say(f"{note} (not by vLLM, which renders it as it is)" if engine == "vllm" else note)
    contracts = {one.name: one.contract for one in served.list() if one.name != BASE}
    if engine == "vllm":
        from harness.serving import vllm

        folder = tracking.settings.home / "serving"
        adapters = served.adapters()
        template = vllm.shared_template(served.base, adapters, folder=folder) if own_system else None
        command = vllm.build_command(
            served.base, adapters, host=host, port=port, limits=limits, dtype=dtype, cors=cors or (), template=template
        )
        for line in told(contracts, brings_system=template is not None, cuts=False, quantization="none"):
            say(line)
        if template is not None:
            say("vLLM has one template for all: `base` gets this system message too, where a chat brings none")
        if show:
            typer.echo(shlex.join(command))
            return
        vllm.run(command)
    for line in told(contracts, brings_system=own_system, cuts=own_system, quantization=quantization):
        say(line)
    loaded = {"dtype": dtype, "quantization": quantization}
    asked = {"as_trained": own_system, "log": RequestLog(with_text=log_text), "cors": cors or ()}
    _serve_here(served, limits, host=host, port=port, grace=grace, loaded=loaded, asked=asked)


def _serve_here(
    served: Variants,
    limits: ServingLimits,
    *,
    host: str,
    port: int,
    grace: float,
    loaded: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> None:
    import os
    import sys

    from harness.models.local import LocalModel
    from harness.models.memory import told_in_a_sentence
    from harness.models.quiet import quiet
    from harness.serving.app import Service
    from harness.serving.limits import KEY_VARIABLE
    from harness.serving.server import bind, serve

    say_gpu_trouble()
    with bind(host, port) as sock:
        with quiet(), told_in_a_sentence(f"serve {served.base.source}", settings={}):
            model = LocalModel.load(served.base, **loaded)
        key = os.environ.get(KEY_VARIABLE)
        service = Service(model, served, limits=limits, key=key, **asked)
        keyed = "with a key" if service.key.is_on else "without a key"
        say(f"serving on {bold(f'http://{host}:{port}/v1')} {keyed}; Ctrl-C stops it")
        serve(service, sock, grace=grace)
    sys.stdout.flush()
    os._exit(0)  # all is said and nothing is to be kept; the interpreter would take seconds of the grace to end
