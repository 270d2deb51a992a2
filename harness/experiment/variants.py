"""From a variant's declaration to the thing that replies: registry, folder, checkpoint, hub, endpoint or file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.doors import functions
from harness.errors import InputError, SplitError, UnavailableError
from harness.experiment.design import VariantDesign
from harness.models.bases import adaptation_of, asked_digest, resolve_base
from harness.models.chat_templates import DIALOGUE_SYSTEM
from harness.models.contracts import asked_system, asked_system_there, kept
from harness.models.metering import Usage
from harness.models.quiet import quiet
from harness.registry import is_registry_name, open_adapter, resolve
from harness.seeding import stream
from harness.store.artifacts import digest_file, digest_json
from harness.types import Adapter, BaseModel, Message, Prompt, Quantization, Variant

if TYPE_CHECKING:
    from harness.experiment.judges.spending import Spending
    from harness.models.endpoint.capabilities import Prober
    from harness.models.local import Dtype, LocalModel
    from harness.models.protocol import LanguageModel
    from harness.store.tracking import Tracking

SHOT_WORDS = (3, 25)  # words of an exchange's turns that make a clear example and cost little


class ModelPool:
    """Each base once in memory, its adapters beside it; nothing is loaded before it is asked."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], LocalModel] = {}
        self._usage = Usage()  # of models that were let go

    def base(self, base: BaseModel, *, dtype: Dtype = "auto", quantization: Quantization = "none") -> LocalModel:
        """A base model, loaded on first use; the same weights in the same precision are loaded once."""
        from harness.models.local import LocalModel

        key = (base.digest, f"{_precision(dtype)} {quantization}")
        if key not in self._models:
            with quiet():
                self._models[key] = LocalModel.load(base, dtype=dtype, quantization=quantization)
        return self._models[key]

    def of(self, variant: Variant, *, spending: Spending) -> LanguageModel:
        """The model that answers for a variant, its adapter attached."""
        if variant.kind == "endpoint":
            return spending.model(
                endpoint=variant.endpoint or "",
                name=variant.model or "",
                without=variant.without,
                opens_thinking=variant.opens_thinking,
            )
        if variant.kind == "file":
            from harness.models.recorded import RecordedModel

            return RecordedModel.load(Path(variant.path or ""))
        if variant.kind == "function":
            from harness.models.own import FunctionModel

            return FunctionModel(functions.lent(variant.digest))
        if variant.base is None:
            raise InputError(f"`{variant.name}` must name a base model; it has none")
        own = variant.base.digest if variant.adapter is None else variant.adapter.digest
        if (live := functions.lent(own)) is not None:
            if (own, "as it is") not in self._models:
                self._models[own, "as it is"] = live.local()
            return self._models[own, "as it is"]
        model = self.base(variant.base, quantization=variant.quantization)
        if variant.adapter is not None:
            model.add_adapter(variant.adapter)
        return model

    @property
    def usage(self) -> Usage:
        """What was asked of its models so far."""
        return functools.reduce(Usage.plus, (model.usage for model in self._models.values()), self._usage)

    def clear(self) -> None:
        """Let go of every model."""
        self._usage = self.usage
        self._models.clear()


def _precision(dtype: Dtype) -> str:
    """What `auto` means on this machine, so that a judge and a variant of one base share it."""
    import torch

    return dtype if dtype != "auto" else "bfloat16" if torch.cuda.is_available() else "float32"


def resolve_variant(
    name: str,
    design: VariantDesign,
    *,
    tracking: Tracking,
    system: str | None,
    shots_from: Callable[[], Sequence[Prompt]],
    seed: int,
    probe: Callable[[str, str], Prober] | None = None,
) -> Variant:
    """What a declaration names, found and digested; the model itself is not loaded.

    Args:
        system: that of the prepared data; where rows bring none, an adapter's own goes before it, and None leaves it to
            the model's template.
        shots_from: gives TRAIN prompts to draw few-shot exchanges from; called only when some are wanted.
        probe: finds out what a server takes, by its address and a model there; what it refuses is part of the variant.
    """
    if design.generations is not None:
        return _file_variant(name, Path(design.generations), source=design.source)
    if design.scored is not None:
        return Variant(name=name, kind="scores", model=design.source, digest=digest_json({"scored": design.scored}))
    if design.given is not None and (callable(given := functions.lent(design.given))):
        label = getattr(given, "__name__", type(given).__name__)
        return Variant(name=name, kind="function", model=label, system=design.system, digest=design.given)
    base, adapter = (None, None) if design.endpoint is not None else _weights_of(design, tracking)
    server = None if probe is None or design.endpoint is None else probe(design.endpoint, design.endpoint_model or "")
    listed = server.listed() if server is not None and system == DIALOGUE_SYSTEM else None
    own = asked_system(adapter, system) if listed is None else asked_system_there(listed, system)
    said = design.system or own
    shots = draw_shots(shots_from(), n=design.shots, seed=seed) if design.shots else ()
    spoken = {"system": said, "shots": [[(m.role, m.content) for m in shot] for shot in shots]}
    if design.endpoint is not None:
        served = {} if server is None else _served(server)
        identity = {"endpoint": design.endpoint, "model": design.endpoint_model, **spoken, **served}
        return Variant(
            name=name,
            kind="endpoint",
            endpoint=design.endpoint,
            model=design.endpoint_model,
            system=said,
            shots=shots,
            digest=digest_json(identity),
            **served,
        )
    if base is None:
        raise InputError(f"`{name}` must name a base model; it has none")
    identity = {"base": asked_digest(base), "adapter": adapter.digest if adapter else None, **spoken}
    unkept = () if adapter is None else kept(adapter.contract, system=said, quantization=design.quantization)
    if adapter is not None and shots:
        unkept += (f"asked after {len(shots)} examples, of which it loses the oldest where they exceed its window",)
    if design.quantization != "none":
        identity["quantization"] = design.quantization
    return Variant(
        name=name,
        kind="model",
        base=base,
        adapter=adapter,
        quantization=design.quantization,
        system=said,
        shots=shots,
        template=(*adaptation_of(base).notes, *unkept),
        digest=digest_json(identity),
    )


def _weights_of(design: VariantDesign, tracking: Tracking) -> tuple[BaseModel, Adapter | None]:
    if design.given is not None:
        live = functions.lent(design.given)
        if live is None:
            raise InputError("`given` names what a Python call handed over, and cannot stand in a file")
        return live.base, live.adapter
    if design.adapter is not None:
        adapter = adapter_of(design, tracking)
        return adapter.base, adapter
    return resolve_base(design.model or "", revision=design.revision), None


def _served(server: Prober) -> dict[str, Any]:
    """What is special about a server; nothing where it takes all fields, or cannot be asked now."""
    try:
        without, opens_thinking = tuple(sorted(server.without())), server.opens_thinking()
    except UnavailableError:  # its replies may stand already; whoever needs it will say that it is not there
        return {}
    return ({"without": without} if without else {}) | ({"opens_thinking": True} if opens_thinking else {})


def adapter_of(design: VariantDesign, tracking: Tracking) -> Adapter:
    """The adapter that a declaration names: a PEFT folder, or one of the registry. Raises InputError: it is neither."""
    named = design.adapter or ""
    if Path(named).is_dir():
        return open_adapter(Path(named), base=None if design.base is None else resolve_base(design.base))
    if is_registry_name(named):
        return resolve(tracking, named)
    raise InputError(f"`{named}` must be a PEFT folder, `name@alias` or `name/version`; it is none of them")


def _file_variant(name: str, path: Path, *, source: str | None) -> Variant:
    if not path.is_file():
        raise InputError(f"`{path}` must be an existing JSONL file of generations; there is none")
    return Variant(name=name, kind="file", path=str(path), model=source, digest=digest_file(path))


def tokenizer_source(designs: Iterable[VariantDesign], tracking: Tracking) -> dict[str, str | None]:
    """The base whose tokenizer measures windows: that of the first variant with a model, else the embedded one's."""
    for declared in designs:
        if declared.model is not None:
            return {"source": declared.model, "revision": declared.revision}
        if declared.adapter is not None:
            base = adapter_of(declared, tracking).base
            return {"source": base.source, "revision": base.revision}
    return {"source": "embedded", "revision": None}


def has_weights(declared: Mapping[str, Any]) -> bool:
    """Whether a variant can say how surprised it is: its model is at hand, not an endpoint, a file or a function."""
    elsewhere = declared.get("endpoint") or declared.get("generations") or declared.get("scored")
    return not elsewhere and not callable(functions.lent(declared.get("given") or ""))


def parse_variant(text: str) -> VariantDesign:
    """A variant as one writes it on the command line.

    - `base` or `embedded`: the embedded model;
    - `name@alias`, `name/version`: an adapter of the registry;
    - a folder: an adapter or a checkpoint, by what lies in it;
    - a `.jsonl` file: generations made elsewhere;
    - `http(s)://host/v1#model`: an endpoint;
    - `owner/name`, `owner/name@revision`: a hub id (a registry version is a number, a hub name is none).
    """
    if text in ("base", "embedded"):
        return VariantDesign(model="embedded")
    if text.startswith(("http://", "https://")):
        url, _, model = text.partition("#")
        if not model:
            raise InputError(f"`{text}` must name the model after a #, e.g. {url}#my-model")
        return VariantDesign(endpoint=url, endpoint_model=model)
    path = Path(text)
    if text and path.is_dir():
        has_adapter = any(path.glob("adapter_model.*")) and not (path / "config.json").is_file()
        is_adapter = has_adapter or (path / "adapter_config.json").is_file()
        return VariantDesign(adapter=text) if is_adapter else VariantDesign(model=text)
    if text.endswith(".jsonl"):
        return VariantDesign(generations=text)
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise InputError(f"`{text}` must be an existing folder; there is none")
    if "/" in text and not text.rsplit("/", 1)[1].isdigit():
        name, _, revision = text.partition("@")
        return VariantDesign(model=name, revision=revision or None)
    if is_registry_name(text):
        return VariantDesign(adapter=text)
    raise InputError(
        f"`{text}` must be base, name@alias, name/version, a folder, a .jsonl file, a hub id or an endpoint URL#model"
    )


def draw_shots(prompts: Sequence[Prompt], *, n: int, seed: int) -> tuple[tuple[Message, ...], ...]:
    """Few-shot exchanges from TRAIN: a line and its answer, from as many films as there are.

    Raises:
        SplitError: a prompt is not of TRAIN.
        InputError: there are fewer usable exchanges than asked for.
    """
    if any(prompt.split != "train" for prompt in prompts):
        raise SplitError("few-shot exchanges come from TRAIN prompts only; a prompt of another split was given")
    rng = stream(seed, "shots")
    films: dict[str, list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda p: p.id):
        if prompt.reference and all(_is_clear(text) for text in (prompt.messages[-1].content, prompt.reference)):
            films.setdefault(prompt.cluster, []).append(prompt)
    drawn: list[Prompt] = []
    order = list(films)
    while len(drawn) < n and any(films.values()):
        for film in [order[i] for i in rng.permutation(len(order))]:
            if films[film] and len(drawn) < n:
                drawn.append(films[film].pop(int(rng.integers(len(films[film])))))
    if len(drawn) < n:
        raise InputError(f"`shots` asks for {n} exchanges and TRAIN has {len(drawn)} of 3 to 25 words; ask for fewer")
    return tuple((p.messages[-1], Message(role="assistant", content=p.reference or "")) for p in drawn)


def _is_clear(text: str) -> bool:
    return SHOT_WORDS[0] <= len(text.split()) <= SHOT_WORDS[1]
