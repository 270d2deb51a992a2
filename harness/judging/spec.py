"""A judge is a folder: `judge.yaml`, its prompt, and criteria of its own where it has any.

The id of a judge is the hash of everything that decides its scores. What only decides how fast they come (batch sizes,
timeouts) or what is concluded from them (qualification thresholds) stays out of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from harness.config import StrictConfig, parse, read_yaml
from harness.doors import functions
from harness.doors.text import decode_text, require_sound, shown
from harness.errors import ConfigError
from harness.judging.criterion_files import load_criterion, read_criterion, shipped_criteria
from harness.judging.method import Method, find_method
from harness.judging.reasoned import ANSWER_FORMS, AnswerForm
from harness.models.endpoint.parameters import PREFILLS, Prefill
from harness.task_kinds import DIALOGUE, TASKS, TaskKind, TaskName, find_task
from harness.types import Criterion

Scale = tuple[int, int]

GROUP = "screentest.judges"  # entry points
SPEC_FILE = "judge.yaml"


class LocalChoice(StrictConfig):
    """Weights in this process."""

    source: str = Field(min_length=1)  # embedded, a hub id or a folder
    revision: str | None = None  # commit of a hub id
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class EndpointChoice(StrictConfig):
    """A model behind an OpenAI-compatible server."""

    endpoint: str | None = Field(
        default=None, pattern=r"^https?://\S+$"
    )  # base URL; None: OPENAI_BASE_URL, else OpenAI
    name: str = Field(min_length=1)  # the model's name there
    key_variable: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")  # holds the key


class FunctionChoice(StrictConfig):
    """A function of the user's; no judge's file names one."""

    function: str  # `module:name`; not part of its id
    code: str  # digest of its source


def _kind_of_model(value: object) -> str:
    if isinstance(value, dict):
        return "endpoint" if value.keys() & {"endpoint", "name", "key_variable"} else "local"
    if isinstance(value, FunctionChoice):
        return "function"
    return "endpoint" if isinstance(value, EndpointChoice) else "local"


ModelChoice = Annotated[
    Annotated[LocalChoice, Tag("local")]
    | Annotated[EndpointChoice, Tag("endpoint")]
    | Annotated[FunctionChoice, Tag("function")],
    Discriminator(_kind_of_model),
]


class DeepevalChoice(StrictConfig):
    """A metric of deepeval and what it is made with."""

    metric: str = Field(min_length=1)  # its class, e.g. GEval
    settings: dict[str, Any] = Field(default_factory=dict)  # its keyword arguments, but for the model


class TaughtHead(StrictConfig):
    """What a judge was taught; no judge's file names one."""

    folder: str  # not part of its id
    digest: str


class QualificationRule(StrictConfig):
    """When the judge is believed; not part of its id."""

    min_auc: float = Field(default=0.60, ge=0.5, lt=1)
    n_controls: int = Field(default=60, ge=2, le=10**9)  # true replies per control family


class Price(StrictConfig):
    """What an endpoint charges, US dollars per million tokens."""

    input: float = Field(ge=0, le=1e9)
    output: float = Field(ge=0, le=1e9)


class Runtime(StrictConfig):
    """How fast it works and what it costs; not part of its id."""

    timeout_s: float = Field(
        default=60, gt=0, le=86_400
    )  # endpoints: to the first byte; half as much again for the rest
    n_parallel: int = Field(default=32, ge=1, le=1024)  # endpoints: ceiling of the calls in flight
    max_retries: int = Field(default=8, ge=0, le=100)  # endpoints: attempts after the first, per call
    usd_per_million_tokens: Price | None = (
        None  # endpoints: instead of the price list, e.g. 0 for a server of one's own
    )

    @model_validator(mode="before")
    @classmethod
    def _without_retired_keys(cls, data: Any) -> Any:
        """Files of earlier versions name `batch_tokens`, which decided nothing."""
        return {k: v for k, v in data.items() if k != "batch_tokens"} if isinstance(data, dict) else data


class JudgeSpec(StrictConfig):
    """`judge.yaml` with its prompt and criteria read in: everything there is to know about a judge but its weights."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    method: str  # one of `harness.judging.methods`
    mode: str  # one of its method's
    model: ModelChoice
    task: TaskName = Field(default="dialogue", exclude_if=lambda name: name == "dialogue")  # what it is told it reads
    family: str = Field(min_length=1)  # checked against a local model, declared of an endpoint
    prompt: str | None = None  # of a judge that asks a question: the text of the prompt file
    criteria: tuple[Criterion, ...] = Field(min_length=1)
    scale: Scale | None = None  # geval: lowest and highest score, each one digit
    min_mass: Annotated[float, Field(gt=0, le=1)] | None = None  # least probability, or share of draws, on the answers
    top_logprobs: int = Field(default=20, ge=2, le=20)  # logprobs: how many the endpoint is asked for
    n_draws: int = Field(default=20, ge=1, le=100)  # sampled: 1 is the plain integer score
    temperature: float = Field(default=1.0, ge=0, le=2)  # sampled
    reads: Literal["auto", "logprobs", "sampled"] = (
        "auto"  # explain, rate-explain at an endpoint: how the score is read
    )
    typed: Literal["auto", "json_schema", "none"] = (
        "auto"  # of those: by `response_format`; auto: where the server has it
    )
    # How an endpoint is asked to go on from the beginning of an answer, so that a score comes next; auto: as it can.
    prefill: Literal["auto", "none"] | Prefill = "auto"
    without: tuple[
        Literal["seed", "temperature"], ...
    ] = ()  # fields that the endpoint refuses; found out where it does
    deepeval: DeepevalChoice | None = None
    # learned: a head taught elsewhere (name@alias, name/version, a folder); else it is taught where it judges.
    head: str | None = Field(default=None, min_length=1)
    taught: TaughtHead | None = None
    max_bytes: int = Field(default=6000, ge=256, le=10**9)  # of conversation and reply, UTF-8: no fewer than tokens
    qualification: QualificationRule = QualificationRule()
    runtime: Runtime = Runtime()

    @property
    def kind(self) -> TaskKind:
        """The task that it judges."""
        return TASKS[self.task]

    @property
    def declared(self) -> Method:
        """Its method: what it needs, how it is built, whether it compares."""
        return find_method(self.method)

    @property
    def auto_modes(self) -> tuple[str, str]:
        """What mode `auto` becomes at an endpoint: where it gives log-probabilities, and where it gives none."""
        best, lesser, *_ = self.declared.endpoint_modes
        return best, lesser

    @property
    def thinks(self) -> AnswerForm | None:
        """In which form it answers with a reason; None where it gives the score alone."""
        return next((form for form in ANSWER_FORMS if form == self.mode), None)

    @property
    def reading(self) -> str:
        """How the score itself is read: exact, logprobs or sampled; auto until it is known."""
        return self.mode if self.thinks is None else self.reads if self.is_remote else "exact"

    @property
    def is_remote(self) -> bool:
        """Whether it judges through an endpoint."""
        return isinstance(self.model, EndpointChoice)

    @property
    def forced_by(self) -> Prefill | None:
        """How the score's position is forced at its endpoint; None where it is left to the model."""
        return next((known for known in PREFILLS if known == self.prefill), None)

    @property
    def source(self) -> str:
        """Its model, for a reader."""
        if isinstance(self.model, FunctionChoice):
            return self.model.function
        return self.model.name if isinstance(self.model, EndpointChoice) else self.model.source

    @model_validator(mode="after")
    def _fits_its_method(self) -> JudgeSpec:
        names = [c.name for c in self.criteria]
        _require(
            (self.method == "function") == isinstance(self.model, FunctionChoice),
            "`method` must not be function in a file: name `module:function` in place of the judge's folder",
        )
        _require(len(set(names)) == len(names), f"`criteria` must be named once each, got {names}")
        _require(
            (self.deepeval is not None) == (self.method == "deepeval"),
            "`deepeval` must be given exactly for a judge of method deepeval",
        )
        method = self.declared
        _require(
            self.kind.is_dialogue or not method.is_taught,
            f"`task` of a {self.method} judge must be dialogue, whose faults it is taught, got {self.task}; take a "
            f"judge that asks a model, or name it {self.name}#dialogue where the data are dialogue",
        )
        _require(self.head is None or method.is_taught, "`head` must be left out of a judge that is taught nothing")
        where, modes = (
            ("an endpoint", method.endpoint_modes) if self.is_remote else ("a local model", method.local_modes)
        )
        _require(bool(modes), f"`model` of a {self.method} judge must be local: endpoints cannot serve one")
        _require(
            self.mode in modes,
            f"`mode` of a {self.method} judge on {where} must be {', '.join(modes)}, got {self.mode}",
        )
        if method.asks:
            self._check_asking()
        else:
            self._check_own_form()
        unknown = [name for name in names if method.criteria and name not in method.criteria]
        _require(
            not unknown, f"`criteria` of a {self.method} judge must be of {', '.join(method.criteria)}, got {unknown}"
        )
        if method.check is not None:
            method.check(self)
        return self

    def _check_own_form(self) -> None:
        """Whoever asks no question of ours has none to set."""
        for key in ("prompt", "scale", "min_mass"):
            _require(
                getattr(self, key) is None, f"`{key}` must be left out of a {self.method} judge, which has no form"
            )
        for key in ("top_logprobs", "n_draws", "temperature", "prefill", "without", "reads", "typed"):
            _require(key not in self.model_fields_set, f"`{key}` must be left out of a {self.method} judge")

    def _check_asking(self) -> None:
        for key, example in (("prompt", "prompt.txt"), ("min_mass", "0.2")):
            _require(getattr(self, key) is not None, f"`{key}` must be given for a {self.method} judge, e.g. {example}")
        for key, mode in (("top_logprobs", "logprobs"), ("n_draws", "sampled"), ("temperature", "sampled")):
            _require(
                key not in self.model_fields_set or self.reading in (mode, "auto"),
                f"`{key}` must be left out unless `mode` is {mode} or auto, got {self.reading}",
            )
        for key in ("reads", "typed"):
            _require(
                key not in self.model_fields_set or (self.is_remote and self.thinks is not None),
                f"`{key}` must be left out unless `mode` is explain or rate-explain at an endpoint, got {self.mode}",
            )
        for key in ("prefill", "without"):
            is_known = key not in self.model_fields_set or self.is_remote
            _require(is_known, f"`{key}` must be left out of a judge on a local model, whose position is always forced")
        for c in self.criteria:
            _require(
                bool(c.steps), f"`criteria` of a {self.method} judge must have evaluation steps, {c.name} has none"
            )


def load_judge_spec(folder: Path) -> JudgeSpec:
    """Read a judge's folder, or find the function where its last part is `module:name` or is offered by a package.

    `folder#task` is the judge of that folder, told that it reads another task than dialogue: the opening of a shipped
    prompt and shipped criteria are the task's, what is the user's own stays. ConfigError names the file, the key, the
    rule and what arrived.
    """
    if not folder.exists() and "#" in folder.name:
        name, _, task = folder.name.rpartition("#")
        folder, said = folder.with_name(name), {"task": find_task(task).name}
    else:
        said = {}
    path = folder / SPEC_FILE
    if not folder.is_dir() and (address := own_address(folder)) is not None:
        from harness.judging.own import load_own_spec

        functions.look_in(folder.parent)
        spec = load_own_spec(address)
        return spec.model_copy(update=said | {"criteria": tuple(_of_task(c, said) for c in spec.criteria)})
    if not path.is_file():
        raise ConfigError(f"`{path}` must be a judge's file, there is none; give a folder with {SPEC_FILE}")
    data = read_yaml(path) | said
    kind = TASKS.get(str(data.get("task")), DIALOGUE)
    if isinstance(data.get("prompt"), str):
        file = _inside(folder, data["prompt"], key="prompt", where=path)
        data["prompt"] = _opened(require_sound(decode_text(file.read_bytes(), file=file), "prompt"), kind)
    if isinstance(data.get("criteria"), list):
        data["criteria"] = [_criterion(name, folder, where=path, kind=kind) for name in data["criteria"]]
    if "taught" in data:
        raise ConfigError(f"`{path}`: `taught` must be left out: `head` names what a judge was taught elsewhere")
    return parse(data, JudgeSpec, where=str(path))


def _of_task(criterion: Criterion, said: dict[str, TaskName]) -> Criterion:
    """A shipped criterion of dialogue as the task that was said has it; a user's own stays."""
    is_shipped = bool(said) and criterion.name in shipped_criteria() and criterion == load_criterion(criterion.name)
    return load_criterion(criterion.name, kind=TASKS[said["task"]]) if is_shipped else criterion


def own_address(judge: Path) -> str | None:
    """The `module:name` that a judge is named by; None where it is a folder's name."""
    return judge.name if functions.is_address(judge.name) else functions.entry_point(GROUP, judge.name)


def _opened(prompt: str, kind: TaskKind) -> str:
    """A prompt whose opening says what the task's judge reads, where it was that of dialogue."""
    return prompt.replace(DIALOGUE.rated, kind.rated, 1).replace(DIALOGUE.compared, kind.compared, 1)


def _criterion(entry: object, folder: Path, *, where: Path, kind: TaskKind) -> Criterion:
    if not isinstance(entry, str):
        raise ConfigError(f"`{where}`: `criteria` must be names or files, got {shown(entry)}; write e.g. [coherence]")
    if entry.endswith((".yaml", ".yml")):
        return read_criterion(_inside(folder, entry, key="criteria", where=where))
    return load_criterion(entry, kind=kind)


def _inside(folder: Path, name: str, *, key: str, where: Path) -> Path:
    """A file of the judge's own folder: a judge that reads elsewhere could not be handed on or hashed whole."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(
            f"`{where}`: `{key}` must be a file inside the judge's folder, got {shown(name)}; copy it there"
        )
    if not path.is_file():
        raise ConfigError(f"`{where}`: `{key}` must name a file that is there, got {shown(name)}")
    return path


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
