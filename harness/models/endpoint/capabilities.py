"""Capability probing: what a server does is asked once with a few short calls, kept with the reason, never assumed.

Servers accept fields and ignore them, so nothing counts that an answer does not show: a turn that was begun must go on
in the middle of a count, and log-probabilities must hold the tokens that were asked for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

from harness.doors.answers import closes_unopened, listed_tokens, raw_text, read_answer, token_positions
from harness.errors import UnavailableError
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.connecting import list_models
from harness.models.endpoint.parameters import CAP, NEW_CAP, OPTIONAL, PREFILLS, Prefill, begun
from harness.models.endpoint.queue import RequestQueue
from harness.store.artifacts import digest_json
from harness.types import JsonObject

REVISION = 1  # raise when a probe asks or concludes otherwise
MOST_LOGPROBS = 20
Topic = Literal["decoding", "logprobs", "prefill", "n", "schema"]
TOPICS: tuple[Topic, ...] = get_args(Topic)
UNSAID = (None, 408, 409, 425, 429)  # neither yes nor no: whoever asks must ask again
PASSING = (502, 503, 504)  # no for now, which is not kept
_DIGIT = "Answer with one digit and nothing else: how many are two and two?"
_COUNT, _BEGUN, _NEXT = "Count from 1 to 9 on one line, with spaces between.", "1 2 3 4", " 5"
_FIELD = "two_and_two"  # that no model would write unasked
_SUM = {
    "type": "json_schema",
    "json_schema": {"name": "sum", "strict": True, "schema": {
        "type": "object", "properties": {_FIELD: {"type": "integer", "enum": list(range(10))}}, "required": [_FIELD],
        "additionalProperties": False}},
}  # fmt: skip
_FEW, _MANY = 16, 512  # tokens: an answer, and an answer with thinking before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe of one topic found."""

    value: Any  # JSON
    reason: str  # one clause
    is_lasting: bool = True  # whether it may be kept
    dropped: Mapping[str, str] = field(default_factory=dict)  # fields that were refused while it was found out


class Abilities(Protocol):
    """What those who ask a server must know of it."""

    def n_logprobs(self) -> int:
        """How many most likely tokens it gives at a position; 0 where it gives none."""

    def prefill(self) -> Prefill | None:
        """How it is asked to go on from the beginning of an answer."""

    def json_schema(self) -> bool:
        """Whether it writes JSON of a schema that is asked for by `response_format`."""

    def without(self, *, greedy: bool = False) -> Mapping[str, str]:
        """Fields of decoding that it refuses, with its own words; `greedy`: also those refused at temperature 0."""


class Prober:
    """Finds out about one model behind one server; what is known is not asked again."""

    def __init__(self, queue: RequestQueue, *, may_ask: bool = True) -> None:
        """On a queue that reuses no answers and tries few times; without `may_ask`, the unknown counts as usual."""
        self._queue = queue
        self._client = queue.client
        self._cache = queue.cache
        self._may_ask = may_ask
        self._found: dict[Topic, Finding] = {}

    def find(self, topic: Topic, *, anew: bool = False) -> Finding:
        """What is known of a topic, else what a few calls find out.

        Raises:
            UnavailableError: the server cannot be used at all.
            BudgetError: the next call could cross the budget.
        """
        if topic not in self._found or anew:
            kept = None if anew else self._kept(topic)
            self._found[topic] = kept or self._ask_about(topic)
        return self._found[topic]

    def n_logprobs(self) -> int:
        """See `Abilities.n_logprobs`."""
        return int(self.find("logprobs").value)

    def prefill(self) -> Prefill | None:
        """See `Abilities.prefill`."""
        value: Prefill | None = self.find("prefill").value
        return value

    def json_schema(self) -> bool:
        """See `Abilities.json_schema`."""
        return bool(self.find("schema").value)

    def without(self, *, greedy: bool = False) -> Mapping[str, str]:
        """See `Abilities.without`."""
        return {**self.find("decoding").value["without"], **(self.find("logprobs").dropped if greedy else {})}

    def opens_thinking(self) -> bool:
        """Whether the server's template opens a block of thinking before the reply."""
        return bool(self.find("decoding").value["opens_thinking"])

    def listed(self) -> Mapping[str, Any]:
        """What the server's list says of the model; nothing where there is none, or nobody may ask."""
        if self._may_ask:
            with contextlib.suppress(UnavailableError):
                return list_models(self._client.url, key_variable=self._client.key_variable).get(self._client.model, {})
        return {}

    def _kept(self, topic: Topic) -> Finding | None:
        key = self._key(topic)
        found = {} if self._cache is None else self._cache.read([key])
        return Finding(**found[key]) if key in found else None

    def _key(self, topic: Topic) -> str:
        return digest_json(["capability", REVISION, self._client.url, self._client.model, topic])

    def _ask_about(self, topic: Topic) -> Finding:
        usual: dict[Topic, Any] = {"decoding": {"without": {}, "opens_thinking": False}, "logprobs": MOST_LOGPROBS}
        if not self._may_ask:
            return Finding(value=usual.get(topic), reason="not asked", is_lasting=False)
        if topic != "decoding":
            self.find("decoding")  # first, so that no later probe stumbles over a field that nobody takes
        asked = {
            "decoding": self._decoding,
            "logprobs": self._logprobs,
            "prefill": self._prefill,
            "n": self._n,
            "schema": self._schema,
        }
        before = set(self._client.parameters.dropped)
        found = asked[topic]()
        fresh = {name: why for name, why in self._client.parameters.dropped.items() if name not in before}
        found = replace(found, dropped=fresh)
        if self._cache is not None and found.is_lasting:
            self._cache.replace(self._key(topic), {"value": found.value, "reason": found.reason, "dropped": fresh})
        return found

    def _decoding(self) -> Finding:
        body = self._question(_DIGIT, temperature=0.7, top_p=0.9, seed=1, max_tokens=_FEW)
        result = self._ask(body)
        if result.answer is None:
            result = self._without_unnamed(body, result)
        opens = closes_unopened(raw_text(result.answer))
        said = read_answer(result.answer)
        if said.finish == "length" and not said.thinking:  # perhaps in thinking that nothing shows to be one yet
            opens = closes_unopened(raw_text(self._ask(body | {"max_tokens": _MANY}).answer))
        known = self._client.parameters
        value = {"cap": known.cap, "without": dict(known.dropped), "opens_thinking": opens}
        reasons = [f"`{name}` is refused: {why}" for name, why in known.dropped.items()]
        reasons += [f"the length cap is `{NEW_CAP}`"] if known.cap != CAP else []
        reasons += ["its template opens thinking before the reply"] if opens else []
        return Finding(value=value, reason="; ".join(reasons) or "every field is taken")

    def _without_unnamed(self, body: Mapping[str, Any], refused: ChatResult) -> ChatResult:
        """The same question without each of the fields that may be left out, and without all of them."""
        for left_out in (*((name,) for name in OPTIONAL), OPTIONAL) if refused.status in (400, 422) else ():
            result = self._ask({key: value for key, value in body.items() if key not in left_out})
            if result.answer is not None:
                self._client.parameters.dropped |= dict.fromkeys(left_out, refused.error)
                return result
        raise self._client.unavailable(f"it was asked what it can do, and failed: {refused.error}")

    def _logprobs(self) -> Finding:
        result, n = self._likely(MOST_LOGPROBS), MOST_LOGPROBS
        if result.answer is None and result.status in (400, 422):
            told = [int(number) for number in re.findall(r"(?<!\d)\d{1,2}(?!\d)", result.error.partition(":")[2])]
            n = max((number for number in told if 2 <= number < MOST_LOGPROBS), default=5)
            if told or "top_logprobs" in result.error:  # it is about the number
                result = self._likely(n)
        if result.answer is None:
            reason = f"asked for log-probabilities it fails: {result.error}"
            return Finding(value=0, reason=reason, is_lasting=result.status not in PASSING)
        positions = [p for p in token_positions(result.answer) or [] if isinstance(p, dict)]
        n_given = max((len(listed_tokens(position) or ()) for position in positions), default=0)
        if n_given < 2:
            return Finding(value=0, reason="it is asked for log-probabilities and gives none")
        return Finding(value=min(n, n_given), reason=f"it gives the {min(n, n_given)} most likely tokens")

    def _prefill(self) -> Finding:
        reasons, is_lasting = [], True
        for prefill in PREFILLS:
            body = self._question(_COUNT, temperature=0, max_tokens=6)
            result = self._ask(body | begun(body["messages"], _BEGUN, prefill))
            text = raw_text(result.answer)
            if text.startswith(_NEXT):
                return Finding(value=prefill, reason=f"begun with `{_BEGUN}` it went on with `{text.strip()[:20]}`")
            reasons.append(f"{prefill}: {result.error or f'it began anew with `{text.strip()[:20]}`'}")
            is_lasting = is_lasting and result.status not in PASSING
        return Finding(value=None, reason="; ".join(reasons), is_lasting=is_lasting)

    def _n(self) -> Finding:
        result = self._ask(self._question(_DIGIT, max_tokens=_FEW, n=2))
        choices = (result.answer or {}).get("choices")
        n = len(choices) if isinstance(choices, list) else 0
        return Finding(value=n == 2, reason=result.error or f"asked for 2 replies it gives {n}")

    def _schema(self) -> Finding:
        result = self._ask(self._question(_DIGIT, max_tokens=_MANY, temperature=0, response_format=_SUM))
        if result.answer is None:
            reason = f"asked for JSON of a schema it fails: {result.error}"
            return Finding(value=False, reason=reason, is_lasting=result.status not in PASSING)
        said = read_answer(result.answer).text
        is_taken = re.fullmatch(rf'\{{\s*"{_FIELD}"\s*:\s*\d\s*\}}', said) is not None
        return Finding(value=is_taken, reason=f"asked for JSON of a schema it wrote `{said[:40]}`")

    def _likely(self, n: int) -> ChatResult:
        return self._ask(self._question(_DIGIT, max_tokens=8, temperature=0, logprobs=True, top_logprobs=n))

    def _question(self, text: str, **asked: Any) -> JsonObject:
        return {"model": self._client.model, "messages": [{"role": "user", "content": text}], **asked}

    def _ask(self, body: JsonObject) -> ChatResult:
        (result,) = self._queue.ask([ChatCall(body=body)])
        if result.answer is None and result.status in UNSAID:
            raise self._client.unavailable(f"it was asked what it can do, and did not say: {result.error}")
        return result
