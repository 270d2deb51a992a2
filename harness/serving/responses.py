"""`/v1/responses`, for text: the chat API in the newer form, whole or as named events. Nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from harness.serving.api_schema import ChatRequest, ChatTurn, Conversing, Label, NoItems, Strict, TextPart
from harness.serving.batching import Piece
from harness.serving.error_answers import ApiError
from harness.serving.reply_chunks import Answer


class InputPart(Strict):
    """A piece of an item's text."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: NoItems | None = None
    logprobs: NoItems | None = None


class InputItem(Strict):
    """One message; an answer's own may be echoed."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[InputPart], Field(min_length=1, max_length=64)]
    id: Label | None = None
    status: Label | None = None


class ResponsesRequest(Conversing):
    """Body of `/v1/responses`."""

    input: Annotated[str, Field(min_length=1)] | Annotated[list[InputItem], Field(min_length=1, max_length=4096)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    text: dict[str, Any] | None = None
    include: NoItems | None = None
    truncation: Literal["disabled", "auto"] | None = None
    background: Literal[False] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None

    @field_validator("text")
    @classmethod
    def _is_plain(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        kind = ((value or {}).get("format") or {"type": "text"}).get("type")
        if kind != "text":
            raise ValueError(f"format '{str(kind)[:40]}' is not supported with this model; ask in the prompt")
        return value

    def as_chat(self) -> ChatRequest:
        """The same as a chat."""
        items = [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        turns = [ChatTurn(role="system", content=self.instructions)] if self.instructions else []
        for item in items:
            parts = item.content
            content = parts if isinstance(parts, str) else [TextPart(type="text", text=part.text) for part in parts]
            turns.append(ChatTurn(role=item.role, content=content))
        return ChatRequest(
            model=self.model,
            messages=turns,
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stream=self.stream,
        )


class ResponseAnswer(Answer):
    """The answer as a response object, or as the events that OpenAI's own client knows."""

    asked: ResponsesRequest
    _n_events = 0

    @classmethod
    def whole(cls, answers: Sequence[ResponseAnswer]) -> dict[str, Any]:
        """The only one's response object."""
        (answer,) = answers
        return answer._object()

    def _event(self, kind: str, **more: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._n_events, **more}
        self._n_events += 1
        return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

    def _text_event(self, kind: str, **more: Any) -> bytes:
        return self._event(kind, output_index=0, item_id=self._item_id, content_index=0, **more)

    def _opening(self) -> Iterable[bytes]:
        yield self._event("response.created", response=self._object())
        yield self._event("response.in_progress", response=self._object())
        yield self._event("response.output_item.added", output_index=0, item=self._item() | {"content": []})
        yield self._text_event("response.content_part.added", part=_part(""))

    def _events(self, piece: Piece, text: str) -> Iterable[bytes]:
        return [self._text_event("response.output_text.delta", delta=text, logprobs=[])] if text else []

    def _broken(self, err: ApiError) -> bytes:
        return self._event("error", code=err.code, message=err.message, param=err.param)

    def _closing(self) -> Iterable[bytes]:
        """Usage comes with the last one."""
        said = self.replies[0].text
        yield self._text_event("response.output_text.done", text=said, logprobs=[])
        yield self._text_event("response.content_part.done", part=_part(said))
        yield self._event("response.output_item.done", output_index=0, item=self._item())
        done = self._object()
        yield self._event(f"response.{done['status']}", response=done)

    @property
    def _item_id(self) -> str:
        return f"msg_{self.id.removeprefix('resp_')}"

    @property
    def _status(self) -> str:
        finish = self.replies[0].finish
        return "in_progress" if finish is None else "completed" if finish == "stop" else "incomplete"

    def _item(self) -> dict[str, Any]:
        content = [_part(self.replies[0].text)]
        return {
            "type": "message", "id": self._item_id, "role": "assistant", "status": self._status, "content": content,
        }  # fmt: skip

    def _object(self) -> dict[str, Any]:
        request, status, used = self.asked, self._status, self.used([self])
        usage = {
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used.total_tokens,
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": request.model,
            "output": [] if status == "in_progress" else [self._item()],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else usage,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
