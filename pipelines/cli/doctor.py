"""`screentest doctor`: what a machine can do, one small check per capability, each with advice where one lacks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from harness.errors import InputError, ScreentestError
from harness.settings import Settings
from harness.store.software_versions import versions
from harness.store.tracking import Tracking
from harness.terminal import bold, dim, green, red, yellow
from pipelines.cli.presenter import Result, presented

Status = Literal["ok", "lack", "fail"]
MARKS = {"ok": green("✓"), "lack": yellow("○"), "fail": red("✗")}
_GIB = 2**30
_LACKS = {
    "seed": "draws cannot be repeated",
    "top_p": "replies are drawn from the whole distribution",
    "temperature": "replies are drawn at the server's own temperature: compare with variants asked in the same way",
    "Log-probabilities": "judges there use `mode: sampled`",
    "Prefill": "a judge's score must come of itself: watch the share that is missing for `low_mass`",
    "Several replies (n)": "nothing here needs it: every draw is a call of its own",
    "JSON schema": "judges that think first are read by their lines: watch the share that is missing",
}
_QUICKSTART_GIB = 4
_DISK_GIB = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One capability: there (`ok`), optional and not there (`lack`), or needed and not there (`fail`)."""

    what: str
    status: Status
    detail: str
    advice: str = ""


@presented
def doctor(
    endpoint: Annotated[
        str | None, typer.Option(help="Instead of this machine: what a server can do, as http://host/v1#model.")
    ] = None,
) -> Result:
    """Say what this machine can do: device, memory, attention, 4-bit, store, corpus, judge keys. Changes nothing.

    With --endpoint, about ten short calls ask a server what it takes and gives; later commands remember it.
    """
    checks = examine() if endpoint is None else examine_endpoint(endpoint)
    is_ok = all(check.status != "fail" for check in checks)
    return Result(
        data={"ok": is_ok, "checks": checks},
        shown=[
            f"{MARKS[check.status]} {bold(f'{check.what:<18}')} {check.detail}"
            + (f"\n  {'':<18} {dim(f'→ {check.advice}')}" if check.advice else "")
            for check in checks
        ],
        exit_code=0 if is_ok else 1,
    )


def examine() -> list[Check]:
    """Every check, in the order a newcomer needs them; changes nothing but an empty state folder."""
    settings = Settings.from_environment()
    machine = [_python(), _device(), _memory(), _disk(settings), _attention(), _four_bit()]
    return [*machine, _embedded(), _encoder(), _store(settings), _corpus(settings), _judges()]


def examine_endpoint(named: str) -> list[Check]:
    """What a server does with what replies and judges send it, asked anew; kept for the commands that follow.

    Raises:
        InputError: `named` is no endpoint, as http://host/v1#model. UnavailableError: the server cannot be used.
    """
    from harness.experiment.judges.spending import Spending
    from harness.experiment.variants import parse_variant
    from harness.models.endpoint.capabilities import TOPICS
    from harness.models.endpoint.parameters import OPTIONAL

    design = parse_variant(named)
    if design.endpoint is None:
        raise InputError(f"`--endpoint` must be a server and its model as http://host/v1#model, got {named}")
    server = Spending().prober(design.endpoint, design.endpoint_model or "")
    decoding, logprobs, prefill, n, schema = (server.find(topic, anew=True) for topic in TOPICS)
    refused, cap = decoding.value["without"], decoding.value["cap"]
    thinking = "its template opens it before the reply" if decoding.value["opens_thinking"] else "none, or in tags"
    checks = [_check("Length cap", f"`{cap}`")]
    for name in OPTIONAL:
        why = refused.get(name)
        checks.append(_check(name, f"refused: {why}" if why else "taken", advice=_LACKS[name] if why else ""))
    found_of = {"Log-probabilities": logprobs, "Prefill": prefill, "Several replies (n)": n, "JSON schema": schema}
    for what, found in found_of.items():
        shown = f"`{found.value}`: {found.reason}" if isinstance(found.value, str) else found.reason
        checks.append(_check(what, shown, advice="" if found.value else _LACKS[what]))
    return [*checks, _check("Thinking", thinking)]


def _check(what: str, detail: str, *, advice: str = "", otherwise: Status = "lack") -> Check:
    """A check that is well unless there is something to advise."""
    return Check(what=what, status=otherwise if advice else "ok", detail=detail, advice=advice)


def _python() -> Check:
    known = versions()
    named = ", ".join(f"{name} {known[name]}" for name in ("torch", "transformers", "trl", "mlflow") if name in known)
    advice = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    return _check("Python", f"{known['python']}; {named}", advice=advice, otherwise="fail")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / _GIB
        return _check("Device", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    from harness.models.devices import gpu_trouble

    advice = gpu_trouble() or "the embedded model trains in minutes here; Qwen 2.5 recipes want a CUDA GPU with 8 GB"
    return _check("Device", f"CPU, {torch.get_num_threads()} threads (float32)", advice=advice)


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    is_enough = memory.available / _GIB >= _QUICKSTART_GIB
    advice = "" if is_enough else f"the quickstart takes up to {_QUICKSTART_GIB} GiB: close something first"
    return _check("Memory", f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free", advice=advice)


def _disk(settings: Settings) -> Check:
    place = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    free = shutil.disk_usage(place).free / _GIB
    advice = "" if free >= _DISK_GIB else f"free {_DISK_GIB} GiB, or point SCREENTEST_HOME at a larger disk"
    return _check("Disk", f"{free:.0f} GiB free under {settings.home.name}/", advice=advice, otherwise="fail")


def _attention() -> Check:
    import torch

    has_gpu = torch.cuda.is_available()
    if has_gpu and importlib.util.find_spec("flash_attn") is not None:
        return _check("Attention", "FlashAttention 2")
    advice = "optional: pip install 'screentest[gpu]' builds flash-attn" if has_gpu else ""
    return _check("Attention", "sdpa", advice=advice)


def _four_bit() -> Check:
    what = "4-bit (QLoRA)"
    if importlib.util.find_spec("bitsandbytes") is None:
        advice = "pip install bitsandbytes, or set `quantization: none` in the recipe"
        return _check(what, "bitsandbytes is not installed", advice=advice)
    import torch

    from harness.models.quantization import import_bitsandbytes

    import_bitsandbytes()
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weights = torch.linspace(-1, 1, 4096).reshape(64, 64)
    if torch.cuda.is_available():
        weights = weights.cuda()
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    error = float((dequantize_4bit(packed, state) - weights).abs().max())
    # The widest gap between two NF4 levels is 0.30, so no value is off by more than 0.15.
    advice = "" if error < 0.2 else "reinstall bitsandbytes: it gives wrong numbers on this machine"
    return _check(what, f"NF4 works here, largest error {error:.2f} of 1", advice=advice, otherwise="fail")


def _embedded() -> Check:
    from harness.models.embedded import gguf_file

    try:
        file = gguf_file()
    except ScreentestError as err:
        return _check("Embedded model", "not installed", advice=str(err))
    return _check("Embedded model", f"SmolLM2-135M-Instruct, {file.stat().st_size / 1e6:.0f} MB")


def _encoder() -> Check:
    from harness.models.encoder import resolve_encoder, wheel_folder

    try:
        resolve_encoder()
    except ScreentestError as err:
        return _check("Embedded encoder", "not usable", advice=str(err))
    size = (wheel_folder() / "model.safetensors").stat().st_size
    return _check("Embedded encoder", f"all-MiniLM-L6-v2, {size / 1e6:.0f} MB")


def _store(settings: Settings) -> Check:

    try:
        runs = Tracking(settings).find(status=None, limit=1000)
    except ScreentestError as err:
        return _check("Store", str(err), advice="check MLFLOW_TRACKING_URI", otherwise="fail")
    kind = settings.tracking_uri.split(":", 1)[0]
    return _check("Store", f"MLflow over {kind}, {len(runs)} runs in {settings.home.name}/")


def _corpus(settings: Settings) -> Check:
    folder = settings.cache / "corpora"
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    advice = "" if names else "`screentest data fetch cornell` brings the real one (10 MB)"
    return _check("Corpora", ", ".join(["sample", *names]), advice=advice, otherwise="ok")


def _judges() -> Check:
    place = "OPENAI_BASE_URL" if os.environ.get("OPENAI_BASE_URL") else "the OpenAI API"
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return _check("Judges", f"embedded, and endpoints through {place}")
    detail = "embedded only: shares a family with embedded variants, so its scores are exploratory"
    return _check("Judges", detail, advice="set OPENAI_API_KEY or OPENAI_BASE_URL for a judge of another family")
