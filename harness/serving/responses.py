"""`/v1/responses`, for text: the chat API in the newer form, whole or as named events. Nothing is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from harness.serving.api_schema import ChatRequest, ChatTurn, Label, NoItems, StreamOptions, Strict, TextPart
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


class ResponsesRequest(Strict):
    """Body of `/v1/responses`."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Annotated[str, Field(min_length=1)] | Annotated[list[InputItem], Field(min_length=1, max_length=4096)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    text: dict[str, Any] | None = None
    tools: NoItems | None = None
    tool_choice: Literal["none", "auto"] | None = None
    include: NoItems | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["disabled", "auto"] | None = None
    background: Literal[False] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Label | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None

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
    """The answer as a response object."""

    def asks(self, request: ResponsesRequest) -> ResponseAnswer:
        """Told what was asked."""
        self._request = request
        return self

    async def response(self) -> dict[str, Any]:
        """Wait for the reply."""
        while not self.is_done:
            piece = await self._next()
            self.replies[piece.draw].add(piece)
        return self._object()

    async def stream(self, first: Piece, *, has_usage: bool) -> AsyncIterator[bytes]:
        """The events that OpenAI's own client knows; usage comes with the last one."""
        number = 0

        def event(kind: str, **more: Any) -> bytes:
            nonlocal number
            data = {"type": kind, "sequence_number": number, **more}
            number += 1
            return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

        at = {"output_index": 0, "item_id": self._item_id}
        yield event("response.created", response=self._object())
        yield event("response.in_progress", response=self._object())
        yield event("response.output_item.added", output_index=0, item=self._item() | {"content": []})
        yield event("response.content_part.added", **at, content_index=0, part=_part(""))
        piece: Piece | None = first
        try:
            while piece is not None:
                if text := self.replies[0].add(piece):
                    yield event("response.output_text.delta", **at, content_index=0, delta=text, logprobs=[])
                piece = None if self.is_done else await self._next()
        except ApiError as err:  # the status is sent already
            yield event("error", code=err.code, message=err.message, param=err.param)
            return
        said = self.replies[0].text
        yield event("response.output_text.done", **at, content_index=0, text=said, logprobs=[])
        yield event("response.content_part.done", **at, content_index=0, part=_part(said))
        yield event("response.output_item.done", output_index=0, item=self._item())
        done = self._object()
        yield event(f"response.{done['status']}", response=done)

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
        request, status = self._request, self._status
        usage = {
            "input_tokens": self.usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.usage.total_tokens,
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
            "model": self.model,
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
