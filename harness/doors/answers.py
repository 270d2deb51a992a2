"""What a model answers: text, thinking, refusal, failure and finish told apart, at one place for all who read answers.

Servers say the same thing in many ways: text as a string or in parts, thinking in tags or in fields of its own, a
refusal as a field, a part or a finish reason, a provider's error inside an answer of status 200. Thinking is no part
of a reply: it is kept beside it. Nothing here raises on what arrives.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.doors.text import MAX_DEPTH, repair_text

Finish = Literal["stop", "length", "unknown"]
Status = Literal["ok", "refused", "failed"]

OPENING = "<think>"
SENTENCE = 300  # characters of a server's own sentence that are shown
_FINISHES: dict[str, Finish] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "max_length", "model_length"), "length"),
}
_REFUSALS = frozenset({"content_filter", "refusal", "safety", "blocklist", "prohibited_content", "recitation"})
_TAG = re.compile(
    r"<(?P<end>/?)(?i:think|thinking|thought|seed:think)\s*>|\[(?P<end2>/?)THINK\]"
    r"|<\|channel\|>(?:analysis|(?P<end3>final))(?:<\|message\|>)?"  # gpt-oss, where nobody has read its channels
)
_CONTROL = re.compile(r"<\|(?:return|end)\|>\s*$")
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|hf|gsk|xai|ghp|nvapi)[-_][\w*-]{6,}|\bAIza[\w-]{10,}|\b[Bb]earer\s+\S{6,}|\b[A-Za-z0-9_*-]{32,}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer, read."""

    text: str  # the reply; "" unless `status` is ok
    thinking: str = ""  # what came before it and is no part of it
    status: Status = "ok"
    finish: Finish = "unknown"
    reason: str = ""  # why there is no reply
    n_repaired: int = 0  # characters that could not be stored, each now U+FFFD


def read_answer(answer: Any, *, keep_thinking: bool = False, opens_thinking: bool = False) -> Said:
    """The first choice of a chat completion; whatever is none has failed.

    Args:
        opens_thinking: the server's template has opened a block of thinking before the reply begins.
    """
    if (sentence := provider_error(answer)) is not None:
        return Said(text="", status="failed", reason=sentence)
    choice = first_choice(answer)
    message = {} if choice is None else choice["message"]
    said = _Parts.of(message.get("content"))
    thought = said.thinking or _reasoning(message)
    finish = str((choice or {}).get("finish_reason") or "").lower()
    refusal = said.refusal or _plain(message.get("refusal"))
    if refusal or finish.split(":")[0].strip() in _REFUSALS:
        told = f"the model refused to answer{f': {_cut(refusal, 120)}' if refusal else ' (content filter)'}"
        return Said(text="", thinking=repair_text(thought).text, status="refused", reason=told)
    ended = _FINISHES.get(finish, "unknown")
    is_open = opens_thinking and not thought and ended == "length"  # one that ended may have had nothing to think
    found = part_thinking(said.text or "", thinking=thought, finish=ended, keep=keep_thinking, is_open=is_open)
    if found.text or found.finish == "length" or (said.text is not None and not _calls_tool(message)):
        return found
    why = "the model called a tool instead of answering" if _calls_tool(message) else "the answer holds no text"
    return replace(found, status="failed", reason=why)


def part_thinking(
    raw: str, *, finish: Finish = "unknown", thinking: str = "", keep: bool = False, is_open: bool = False
) -> Said:
    """A reply without its blocks of thinking; one that was never closed is a cut-off reply, without text of its own.

    Args:
        is_open: a block was opened before the reply, by the template. A reply that closes one unopened says so itself.
    """
    if keep or not (thinking or is_open or may_think(raw)):
        whole = repair_text(f"<think>\n{thinking}\n</think>\n\n{raw}" if thinking else raw)
        return Said(text=whole.text.strip(), finish=finish, n_repaired=whole.n)
    spoken: list[str] = []
    thoughts = [thinking] if thinking else []
    begin = 0
    for tag in _TAG.finditer(raw):
        piece, begin = raw[begin : tag.start()], tag.end()
        if not _closes(tag):
            (thoughts if is_open else spoken).append(piece)
        else:  # one that nobody opened closes all that was said
            thoughts += [piece] if is_open else [*spoken, piece]
            spoken = spoken if is_open else []
        is_open = not _closes(tag)
    (thoughts if is_open else spoken).append(_CONTROL.sub("", raw[begin:]) if begin else raw)
    text, thought = repair_text("".join(spoken)), repair_text("\n".join(t.strip() for t in thoughts if t.strip()))
    return Said(
        text=text.text.strip(),
        thinking=thought.text,
        finish="length" if is_open else finish,
        n_repaired=text.n + thought.n,
    )


def may_think(raw: str) -> bool:
    """Whether a text can hold a mark of thinking at all: most hold none, and need not be searched."""
    return "<" in raw or "[" in raw


def raw_text(answer: Any) -> str:
    """The text of the first choice just as it came, white space and thinking included; "" where there is none."""
    return content_text((first_choice(answer) or {"message": {}})["message"].get("content"))


def content_text(content: Any) -> str:
    """The text in a message's content, or in a piece of one, just as it came."""
    return _Parts.of(content).text or ""


def reply_start(raw: str) -> int:
    """Where the reply itself begins in what a model wrote: after the last block of thinking that was closed."""
    return max((tag.end() for tag in _TAG.finditer(raw) if _closes(tag)), default=0)


def opens_thinking(prompt: str) -> bool:
    """Whether a rendered prompt leaves a block of thinking open, so that the reply begins inside it."""
    last = next(reversed(list(_TAG.finditer(prompt))), None)
    return last is not None and not _closes(last) and not prompt[last.end() :].strip()


def closes_unopened(raw: str) -> bool:
    """Whether a reply closes a block of thinking that its prompt had opened."""
    first = _TAG.search(raw)
    return first is not None and _closes(first)


def is_thinking_tag(token: str) -> bool:
    """Whether a token is a mark of thinking: one that must be read although it is a control token."""
    return _TAG.fullmatch(token) is not None


def first_choice(answer: Any) -> Mapping[str, Any] | None:
    """The first choice with a message; None where there is none."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) and isinstance(choice.get("message"), dict) else None


def provider_error(answer: Any) -> str | None:
    """The sentence of an error inside an answer of status 200; None where there is no error."""
    if not isinstance(answer, Mapping):
        return None
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = answer.get("error") or choice.get("error")
    if not error and str(choice.get("finish_reason")).lower() != "error":
        return None
    return f"the provider failed: {server_sentence(error) or 'it gives no reason'}"


def is_deep(value: Any) -> bool:
    """Whether JSON data nest more than any answer does."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return False
    return True


def token_positions(answer: Any) -> list[Any] | None:
    """The answer's tokens with what else might have stood there; None where the server gave none."""
    logprobs = (first_choice(answer) or {}).get("logprobs")
    positions = logprobs.get("content") if isinstance(logprobs, dict) else None
    return positions if isinstance(positions, list) else None


def listed_tokens(position: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The most likely tokens at a position, the drawn one among them, each once; None where the numbers are none.

    Some servers list the drawn token apart, some twice: equal token, bytes and value are one. Different tokens of one
    text (" 4" and "4") stay apart.
    """
    listed = position.get("top_logprobs")
    tokens = [t for t in (listed if isinstance(listed, list) else []) if isinstance(t, dict)]
    if position.get("token") not in [t.get("token") for t in tokens]:
        tokens.append(dict(position))
    for entry in tokens:
        token, logprob = entry.get("token"), entry.get("logprob")
        if not isinstance(token, str) or not isinstance(logprob, int | float) or not logprob <= 1e-3:  # NaN is not
            return None
    return list({(t["token"], str(t.get("bytes")), t["logprob"]): t for t in tokens}.values())


def server_sentence(body: Any, *, secrets: Collection[str] = ()) -> str:
    """What a server says of an error, in its own words: one line, without keys, cut; "" where it says nothing.

    Args:
        body: of the answer: JSON as OpenAI, FastAPI and others shape it, or plain text.
        secrets: what must not be shown; whatever looks like a key is not either.
    """
    text = repair_text(_told(body)).text
    if "<html" in text.lower() or text.lstrip().lower().startswith("<!doctype"):
        text = re.sub(r"(?is)<(script|style|head).*?</\1>|<[^>]*>", " ", text[:20_000])
    for secret in secrets:
        text = text.replace(secret, "…") if len(secret) > 3 else text
    return _cut(_SECRET.sub("…", text), SENTENCE)


def _told(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, list):  # FastAPI: one entry a field
        return "; ".join(filter(None, (_told(item) for item in body[:3])))
    if not isinstance(body, Mapping):
        return ""
    place = ".".join(str(part) for part in body["loc"]) + ": " if isinstance(body.get("loc"), list) else ""
    said = next((t for k in ("message", "msg", "error", "detail", "errors") if (t := _told(body.get(k)))), "")
    inner = body.get("metadata")  # OpenRouter: the provider's own words
    raw = _told(inner.get("raw")) if isinstance(inner, Mapping) else ""
    named = body.get("param")
    where = f" (`{named}`)" if isinstance(named, str) and named not in said else ""
    return f"{place}{said}{where}{f': {raw}' if raw else ''}"


def _cut(text: str, n: int) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * n]).split())
    return line if len(line) <= n else f"{line[: n - 1]}…"


def _inside(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _closes(tag: re.Match[str]) -> bool:
    return any(tag.group("end", "end2", "end3"))


def _calls_tool(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


def _reasoning(message: Mapping[str, Any]) -> str:
    """Thinking in a field of its own; several fields are several names of one thing."""
    fields = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
    return next((found for name in fields if (found := _plain(message.get(name)))), "")


def _plain(value: Any) -> str:
    """The text in whatever holds it: a string, parts, or an object around either."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_plain(item) for item in value)
    if isinstance(value, Mapping):
        names = ("text", "thinking", "content", "summary", "refusal", "value", "parts")
        return next((found for name in names if (found := _plain(value.get(name)))), "")
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A message's content by kind; `text` is None where no text was given, not even an empty one."""

    text: str | None
    thinking: str = ""
    refusal: str = ""

    @classmethod
    def of(cls, content: Any) -> _Parts:
        parts: Sequence[Any] = content if isinstance(content, list) else [] if content is None else [content]
        texts, thoughts, refusals = [], [], []
        for part in parts:
            kind = str(part.get("type") or "text").lower() if isinstance(part, Mapping) else "text"
            if "think" in kind or "reason" in kind:
                thoughts.append(_plain(part))
            elif kind == "refusal":
                refusals.append(_plain(part))
            elif isinstance(part, str) or (isinstance(part, Mapping) and kind.endswith("text")):
                texts.append(_plain(part))
        return cls(text="".join(texts) if texts else None, thinking="".join(thoughts), refusal="".join(refusals))
