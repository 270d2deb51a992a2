"""What a machine can do for Screentest: one small check per capability, each with advice where something lacks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError, ScreentestError
from harness.models.endpoint.capabilities import TOPICS
from harness.models.endpoint.parameters import OPTIONAL
from harness.settings import Settings
from harness.store.provenance import versions

Status = Literal["ok", "lack", "fail"]
_GIB = 2**30
_LACKS = {
    "seed": "draws cannot be repeated",
    "top_p": "replies are drawn from the whole distribution",
    "temperature": "replies are drawn at the server's own temperature: compare with variants asked in the same way",
    "Log-probabilities": "judges there use `mode: sampled`",
    "Prefill": "a judge's score must come of itself: watch the share that is missing for `low_mass`",
    "Several replies (n)": "nothing here needs it: every draw is a call of its own",
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


def examine(settings: Settings | None = None) -> list[Check]:
    """Every check, in the order a newcomer needs them; changes nothing but an empty state folder."""
    settings = settings or Settings.from_environment()
    checks = (_python, _device, _memory, lambda: _disk(settings), _attention, _four_bit, _embedded)
    found = [check() for check in checks]
    return [*found, _store(settings), _corpus(settings), _judges()]


def examine_endpoint(named: str) -> list[Check]:
    """What a server does with what replies and judges send it, asked anew; kept for the commands that follow.

    Raises:
        InputError: `named` is no endpoint, as http://host/v1#model. UnavailableError: the server cannot be used.
    """
    from harness.experiment.judges.spending import Spending
    from harness.experiment.variants import parse_variant

    design = parse_variant(named)
    if design.endpoint is None:
        raise InputError(f"`--endpoint` must be a server and its model as http://host/v1#model, got {named}")
    server = Spending().prober(design.endpoint, design.endpoint_model or "")
    decoding, logprobs, prefill, n = (server.find(topic, anew=True) for topic in TOPICS)
    refused, cap = decoding.value["without"], decoding.value["cap"]
    thinking = "its template opens it before the reply" if decoding.value["opens_thinking"] else "none, or in tags"
    checks = [Check(what="Length cap", status="ok", detail=f"`{cap}`")]
    for name in OPTIONAL:
        why = refused.get(name)
        detail = f"refused: {why}" if why else "taken"
        checks.append(
            Check(what=name, status="lack" if why else "ok", detail=detail, advice=_LACKS[name] if why else "")
        )
    for what, found in (("Log-probabilities", logprobs), ("Prefill", prefill), ("Several replies (n)", n)):
        status: Status = "ok" if found.value else "lack"
        shown = f"`{found.value}`: {found.reason}" if isinstance(found.value, str) else found.reason
        checks.append(Check(what=what, status=status, detail=shown, advice="" if found.value else _LACKS[what]))
    return [*checks, Check(what="Thinking", status="ok", detail=thinking)]


def _python() -> Check:
    known = versions()
    named = ", ".join(f"{name} {known[name]}" for name in ("torch", "transformers", "trl", "mlflow") if name in known)
    is_new = sys.version_info >= (3, 11)
    return Check(
        what="Python",
        status="ok" if is_new else "fail",
        detail=f"{known['python']}; {named}",
        advice="" if is_new else "install Python 3.11 or newer",
    )


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / _GIB
        return Check(what="Device", status="ok", detail=f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    return Check(
        what="Device",
        status="lack",
        detail=f"CPU, {torch.get_num_threads()} threads (float32)",
        advice="the embedded model trains in minutes here; Qwen 2.5 recipes want a CUDA GPU with 8 GB",
    )


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    is_enough = memory.available / _GIB >= _QUICKSTART_GIB
    return Check(
        what="Memory",
        status="ok" if is_enough else "lack",
        detail=f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free",
        advice="" if is_enough else f"the quickstart takes up to {_QUICKSTART_GIB} GiB: close something first",
    )


def _disk(settings: Settings) -> Check:
    place = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    free = shutil.disk_usage(place).free / _GIB
    is_enough = free >= _DISK_GIB
    return Check(
        what="Disk",
        status="ok" if is_enough else "fail",
        detail=f"{free:.0f} GiB free under {settings.home.name}/",
        advice="" if is_enough else f"free {_DISK_GIB} GiB, or point SCREENTEST_HOME at a larger disk",
    )


def _attention() -> Check:
    import torch

    if importlib.util.find_spec("flash_attn") is not None and torch.cuda.is_available():
        return Check(what="Attention", status="ok", detail="FlashAttention 2")
    advice = "optional: pip install 'screentest[gpu]' builds flash-attn" if torch.cuda.is_available() else ""
    return Check(what="Attention", status="ok" if not advice else "lack", detail="sdpa", advice=advice)


def _four_bit() -> Check:
    if importlib.util.find_spec("bitsandbytes") is None:
        return Check(
            what="4-bit (QLoRA)",
            status="lack",
            detail="bitsandbytes is not installed",
            advice="pip install bitsandbytes, or set `quantization: none` in the recipe",
        )
    import torch

    from harness.models.quantization import import_bitsandbytes

    import_bitsandbytes()
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weights = torch.linspace(-1, 1, 4096).reshape(64, 64)
    if torch.cuda.is_available():
        weights = weights.cuda()
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    error = float((dequantize_4bit(packed, state) - weights).abs().max())
    is_right = error < 0.2  # the widest gap between two NF4 levels is 0.30, so no value is off by more than 0.15
    return Check(
        what="4-bit (QLoRA)",
        status="ok" if is_right else "fail",
        detail=f"NF4 works here, largest error {error:.2f} of 1",
        advice="" if is_right else "reinstall bitsandbytes: it gives wrong numbers on this machine",
    )


def _embedded() -> Check:
    from harness.models.embedded import gguf_file

    try:
        file = gguf_file()
    except ScreentestError as err:
        return Check(what="Embedded model", status="lack", detail="not installed", advice=str(err))
    return Check(
        what="Embedded model", status="ok", detail=f"SmolLM2-135M-Instruct, {file.stat().st_size / 1e6:.0f} MB"
    )


def _store(settings: Settings) -> Check:
    from harness.store.tracking import Tracking

    try:
        runs = Tracking(settings).find(status=None, limit=1000)
    except ScreentestError as err:
        return Check(what="Store", status="fail", detail=str(err), advice="check MLFLOW_TRACKING_URI")
    kind = settings.tracking_uri.split(":", 1)[0]
    return Check(what="Store", status="ok", detail=f"MLflow over {kind}, {len(runs)} runs in {settings.home.name}/")


def _corpus(settings: Settings) -> Check:
    folder = settings.cache / "corpora"
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return Check(
        what="Corpora",
        status="ok",
        detail=", ".join(["sample", *names]),
        advice="" if names else "`screentest data fetch cornell` brings the real one (10 MB)",
    )


def _judges() -> Check:
    has_key = bool(os.environ.get("OPENAI_API_KEY"))
    has_url = bool(os.environ.get("OPENAI_BASE_URL"))
    if has_key or has_url:
        place = "OPENAI_BASE_URL" if has_url else "the OpenAI API"
        return Check(what="Judges", status="ok", detail=f"embedded, and endpoints through {place}")
    return Check(
        what="Judges",
        status="lack",
        detail="embedded only: shares a family with embedded variants, so its scores are exploratory",
        advice="set OPENAI_API_KEY or OPENAI_BASE_URL for a judge of another family",
    )
