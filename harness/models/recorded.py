"""Generations made elsewhere: a JSONL file that answers like a model, as far as it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from harness.doors.answers import Finish, closes_unopened, part_thinking
from harness.doors.files import Row, read_rows
from harness.doors.forms import advice
from harness.doors.text import is_absent, require_id, shown
from harness.errors import CorpusError, InputError
from harness.models.metering import answered_in_turn
from harness.models.protocol import GeneratesOnly, OnProgress, OnReply, Reply, ReplyRequest, as_reply, no_reply
from harness.types import NO_REPLY, Decoding, FinishReason

_KEYS = {"prompt_id", "text", "draw", "finish_reason", "n_tokens", "thinking"}
_MISSING = "the file has no generation for this prompt and draw"
_LARGEST = 2**31 - 1  # of a draw or a number of tokens


class RecordedModel(GeneratesOnly):
    """Looks replies up by prompt and draw; implements `LanguageModel` with `generate` alone, and `Drawn`.

    A prompt that the file lacks becomes a reply with finish reason `error`: missing, and counted as such.
    """

    def __init__(self, path: Path, replies: Mapping[tuple[str, int], Reply]) -> None:
        """See `load`."""
        self.path = path
        self.name = path.name
        self._replies = replies
        self._draws: dict[str, list[int]] = {}
        for key, draw in sorted(replies):
            self._draws.setdefault(key, []).append(draw)
        self._opens_thinking = any(closes_unopened(reply.text) for reply in replies.values())

    @classmethod
    def load(cls, path: Path) -> RecordedModel:
        """Read a file with one object a line: `prompt_id`, `text`, and if known `draw`, `finish_reason`, `n_tokens`,
        `thinking`.

        Several lines of one prompt without `draw` are its draws, in order.

        Raises:
            InputError: there is no such file.
            CorpusError: the file is empty or a line breaks the format; it names file, line and reason.
        """
        replies: dict[tuple[str, int], Reply] = {}
        lines: dict[tuple[str, int], int] = {}
        n_drawn: Counter[str] = Counter()
        for row in read_rows(path, of="generations"):
            reply = _read(path, row, n_before=n_drawn)
            key = (reply.key, reply.draw)
            if key in replies:
                reason = f"`{reply.key}` draw {reply.draw} stands on line {lines[key]} too"
                raise CorpusError(path, reason, line=row.number)
            replies[key], lines[key] = reply, row.number
            n_drawn[reply.key] += 1
        return cls(path, replies)

    @property
    def n_generations(self) -> int:
        """Generations in the file."""
        return len(self._replies)

    @property
    def prompt_ids(self) -> frozenset[str]:
        """The prompts that the file answers."""
        return frozenset(self._draws)

    def draws_of(self, key: str) -> Sequence[int]:
        """The draws that the file has of a prompt, or the first where it has none."""
        return self._draws.get(key) or (0,)

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """The recorded replies; decoding was somebody else's, and only whether to keep thinking is looked at.

        Raises InputError: not one of the requested prompts is in the file, so it belongs to other data.
        """
        if requests and not any((r.key, r.draw) in self._replies for r in requests):
            wanted, has = requests[0].key, next(iter(self._replies))[0]
            raise InputError(
                f"`{self.path}` must hold generations for the prompts at hand, got none of {len(requests)} "
                f"(the first prompt is `{wanted}`, the file begins with `{has}`); use the ids of the prepared prompts"
            )

        def answer(request: ReplyRequest) -> Reply:
            recorded = self._replies.get((request.key, request.draw))
            return self._told(recorded, request, decoding) if recorded else no_reply(request, _MISSING)

        return answered_in_turn(requests, answer, on_reply=on_reply, on_progress=on_progress)

    def _told(self, recorded: Reply, request: ReplyRequest, decoding: Decoding) -> Reply:
        """A line of the file as the reply to a request, its thinking told apart."""
        if recorded.finish_reason in NO_REPLY:
            return replace(
                recorded, text="", tag=request.tag, error=recorded.error or "the file says that there is no reply"
            )
        said = part_thinking(
            recorded.text,
            finish=cast(Finish, recorded.finish_reason),
            thinking=recorded.thinking,
            keep=decoding.keep_thinking,
            # Where others begin inside a block, one that was cut off and closes none never left it.
            is_open=self._opens_thinking and recorded.finish_reason == "length",
        )
        return as_reply(said, request, n_tokens=recorded.n_tokens)


def _read(path: Path, row: Row, *, n_before: Mapping[str, int]) -> Reply:
    value = row.value
    reason = _fault(value)
    if reason:
        hint = advice(value, path, to="replies") if value.keys() - _KEYS else ""
        raise CorpusError(path, reason + hint, line=row.number)
    try:
        key = require_id(value, "prompt_id")
    except InputError as err:
        raise CorpusError(path, str(err), line=row.number) from err
    return Reply(
        key=key,
        draw=n_before[key] if value.get("draw") is None else value["draw"],
        adapter=None,
        text="" if is_absent(value["text"]) else value["text"].strip(),
        n_tokens=value.get("n_tokens"),
        finish_reason="error" if value["text"] is None else cast(FinishReason, value.get("finish_reason") or "unknown"),
        thinking=value.get("thinking") or "",
        error="the file has null in place of a reply" if value["text"] is None else "",
    )


def _fault(row: Mapping[str, Any]) -> str:
    """What breaks the format, or nothing."""
    if unknown := sorted(set(row) - _KEYS):
        return f"must hold no keys but {', '.join(sorted(_KEYS))}, got `{unknown[0]}`"
    if "text" not in row or not isinstance(row["text"], str | None):
        return f"`text` must be a string, or null where there is no reply, got {shown(row.get('text'))}"
    if not isinstance(row.get("thinking"), str | None):
        return f"`thinking` must be a string, got {shown(row['thinking'])}"
    for key in ("draw", "n_tokens"):
        value = row.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST):
            return f"`{key}` must be a whole number of 0 or more, got {shown(value)}"
    finish = row.get("finish_reason")
    if finish is not None and finish not in get_args(FinishReason):
        return f"`finish_reason` must be one of {', '.join(get_args(FinishReason))}, got {shown(finish)}"
    return ""
