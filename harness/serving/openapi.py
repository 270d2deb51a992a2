"""The service's description of itself: bodies are read by us, strictly, so their schema is added by hand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from harness.serving.api_schema import ChatChunk, ChatRequest, ErrorBody
from harness.serving.completions import CompletionRequest
from harness.serving.responses import ResponsesRequest

_REF = "#/components/schemas/{model}"
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request breaks a rule; the message says which"},
    401: {"model": ErrorBody, "description": "The key is missing or wrong"},
    404: {"model": ErrorBody, "description": "No such variant"},
    429: {"model": ErrorBody, "description": "The queue is full or the client too fast; see Retry-After"},
    503: {"model": ErrorBody, "description": "Stopping, out of memory, or an adapter's files were altered"},
}
_TOO_LARGE = {"model": ErrorBody, "description": "The body is over the limit"}

KNOWN_ERRORS: dict[str, Any] = {"responses": _ERRORS}
# One server-sent event: its data is a chunk as JSON, or [DONE].
_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}


def _posted(model: str, what: str) -> dict[str, Any]:
    """A route whose body is read by us; its answer may be a stream."""
    content = {"text/event-stream": {"schema": _EVENT}}
    schema = {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}
    return {
        "responses": {**_ERRORS, 413: _TOO_LARGE, 200: {"description": what, "content": content}},
        "openapi_extra": {"requestBody": {"required": True, "content": schema}},
    }


CHAT = _posted("ChatRequest", "The replies; as `data:` events where `stream` is true")
COMPLETIONS = _posted("CompletionRequest", "The texts; as `data:` events where `stream` is true")
RESPONSES = _posted("ResponsesRequest", "The response; as named events where `stream` is true")


def describe(app: FastAPI) -> None:
    """Let `/openapi.json` hold the schemas of what FastAPI does not read or write itself."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = generate()["components"]["schemas"]
            for kind in (ChatRequest, ChatChunk, CompletionRequest, ResponsesRequest):
                schema = kind.model_json_schema(ref_template=_REF)
                schemas.update(schema.pop("$defs", {}))
                schemas[kind.__name__] = schema
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
