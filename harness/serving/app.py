"""The service: `/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/models`, `/health`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from harness.errors import InputError
from harness.models.chat_templates import reply_ids
from harness.models.contracts import own_system, render_as_trained
from harness.models.detokenizing import decode
from harness.models.local import LocalModel
from harness.serving.api_schema import ChatCompletion, ChatRequest, Health, ModelCard, ModelList
from harness.serving.batching import Ask, Engine
from harness.serving.completions import Completion, CompletionRequest, TextAnswer, prompt_tokens
from harness.serving.error_answers import ApiError, bad_request, internal, of_validation, unknown_model
from harness.serving.limits import KeyCheck, Rate, ServingLimits
from harness.serving.logs import RequestLog
from harness.serving.model_names import Served, Variants
from harness.serving.openapi import CHAT, COMPLETIONS, KNOWN_ERRORS, RESPONSES, describe
from harness.serving.reply_chunks import Answer, ChatAnswer
from harness.serving.responses import ResponseAnswer, ResponsesRequest
from harness.serving.transport import EventStream, Logged, error_response, or_gone, read_body, record_of
from harness.store.artifacts import digest_json
from harness.types import Adapter, Decoding, JsonObject

_LONGEST = 4096  # tokens of a reply, where neither the model nor the server names a bound
Body = ChatRequest | CompletionRequest | ResponsesRequest


class Service:
    """What the routes work with."""

    def __init__(
        self,
        model: LocalModel,
        variants: Variants,
        *,
        limits: ServingLimits | None = None,
        key: str | None = None,
        log: RequestLog | None = None,
        as_trained: bool = True,
        cors: Sequence[str] = (),
    ) -> None:
        """`key` is asked of every client of `/v1`; `log` gets one line per request; pages of `cors` may ask.

        `as_trained`: whether an adapter's system message goes before a chat without one, and its window cuts history.
        """
        self.as_trained = as_trained
        self.cors = tuple(cors)
        self.limits = limits or ServingLimits()
        self.model = model
        self.variants = variants
        self.engine = Engine(
            model,
            max_batch=self.limits.max_batch,
            max_queue=self.limits.max_queue,
            max_adapters=self.limits.max_adapters,
        )
        self.key = KeyCheck(key)
        self.rate = Rate(self.limits.per_minute)
        self.log = log or RequestLog()

    def admit(self, request: Request) -> None:
        """Check key and rate; raises `ApiError`."""
        self.key.require(request.headers.get("authorization"))
        self.rate.take(request.client.host if request.client else "")

    def card(self, served: Served) -> ModelCard:
        """What clients are told of a variant."""
        root, own = self.variants.base.source, served.contract if self.as_trained else None
        told: Any = {"system": None if own is None else own.system, "as_trained": own is not None}
        return ModelCard(id=served.name, created=served.created, root=root, digest=served.digest, **told)

    def prompts(
        self, request: ChatRequest | CompletionRequest, adapter: Adapter | None = None
    ) -> list[tuple[int, ...]]:
        """Tokens of each prompt; may take a while for a long one, so not for an event loop."""
        if isinstance(request, CompletionRequest):
            return [prompt_tokens(self.model.tokenizer, prompt) for prompt in request.prompts]
        return [self.prompt_ids(request, adapter)]

    def prompt_ids(self, request: ChatRequest, adapter: Adapter | None = None) -> tuple[int, ...]:
        """Tokens of the chat, as its variant was asked in training."""
        chat = [{"role": "system" if t.role == "developer" else t.role, "content": t.text} for t in request.messages]
        n_systems = sum(turn["role"] == "system" for turn in chat)
        if n_systems > 1:
            raise bad_request(
                f"`messages` must hold one system (or developer) message at most, got {n_systems}; join them",
                param="messages",
            )
        if self.as_trained and not n_systems and (own := own_system(adapter, None)) is not None:
            chat.insert(0, {"role": "system", "content": own})
        contract = adapter.contract if adapter is not None and self.as_trained else None
        last = chat.pop()["content"] if request.continue_final_message else ""
        try:
            ids = render_as_trained(self.model.tokenizer, chat, contract)
            return ids + reply_ids(self.model.tokenizer, last)
        except InputError as err:
            raise bad_request(str(err), param="messages") from err

    def ask(self, request: ChatRequest | CompletionRequest, ids: tuple[int, ...], adapter: Adapter | None) -> Ask:
        """What the engine is asked of a prompt, once lengths are checked.

        The chance of a token hangs on seed, prompt, reply and step alone: the same request gets the same reply alone
        and in a batch, and two variants asked the same share their chance.
        """
        decoding = Decoding(
            max_new_tokens=self._n_new_tokens(request.n_new_tokens, len(ids)),
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed if request.seed is not None else secrets.randbits(62),
            n_draws=request.n or 1,
            stop=request.stops,
        )
        return Ask(
            ids=ids,
            key=digest_json(ids),
            decoding=decoding,
            adapter=adapter,
            n_top=request.n_top,
            n_prompt_top=request.n_top if isinstance(request, CompletionRequest) and request.echo else None,
            is_streamed=bool(request.stream),
        )

    def begin(self, kind: type[Answer], asks: Sequence[Ask], *, asked: Body, answer_id: str) -> list[Answer]:
        """Queue every prompt of a request, or none; raises `ApiError`."""
        answers: list[Answer] = []
        try:
            for ask in asks:
                answers.append(kind(self.engine.submit(ask), self.model, answer_id=answer_id, asked=asked))
        except ApiError:
            for answer in answers:
                self.engine.cancel(answer.ticket)
            raise
        return answers

    def _n_new_tokens(self, wanted: int | None, n_prompt: int) -> int:
        """How long a reply may be: what is wanted, within the server's cap and the room that the prompt leaves."""
        most, room = self.limits.max_tokens, self.model.n_positions
        n_new = self.limits.default_tokens if wanted is None else wanted
        n_new = n_new if most is None else min(n_new, most)
        if room is None:
            return n_new if most is not None else min(n_new, _LONGEST)
        if n_prompt >= room:
            raise bad_request(
                f"prompt and reply must fit the model's {room} tokens together, got {n_prompt} for the prompt; "
                "shorten it",
                code="context_length_exceeded",
                param="messages",
            )
        return min(n_new, room - n_prompt)


def create_app(service: Service) -> FastAPI:
    """The ASGI application; its engine lives as long as it does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.engine.stop)

    app = FastAPI(title="Screentest", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Logged, log=service.log)
    if service.cors:
        app.add_middleware(CORSMiddleware, allow_origins=service.cors, allow_methods=["*"], allow_headers=["*"])
    _add_error_handlers(app)
    _add_routes(app, service)
    describe(app)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", response_model=ChatCompletion, **CHAT)
    async def chat(request: Request) -> Response:
        return await _answered(service, request, ChatRequest, ChatAnswer, prefix="chatcmpl-")

    @app.post("/v1/completions", response_model=Completion, **COMPLETIONS)
    async def completions(request: Request) -> Response:
        return await _answered(service, request, CompletionRequest, TextAnswer, prefix="cmpl-")

    @app.post("/v1/responses", **RESPONSES)
    async def responses(request: Request) -> Response:
        return await _answered(service, request, ResponsesRequest, ResponseAnswer, prefix="resp_")

    @app.get("/v1/models", **KNOWN_ERRORS)
    async def models(request: Request) -> ModelList:
        service.admit(request)
        served = await asyncio.to_thread(service.variants.list)
        return ModelList(data=[service.card(one) for one in served])

    @app.get("/v1/models/{name:path}", **KNOWN_ERRORS)
    async def model(request: Request, name: str) -> ModelCard:
        service.admit(request)
        for one in await asyncio.to_thread(service.variants.list):
            if one.name == name:
                return service.card(one)
        raise unknown_model("the model must be one that GET /v1/models lists; it is not")

    @app.get("/health", responses={503: {"model": Health, "description": "Stopping, or failed"}})
    async def health(response: Response) -> Health:
        load = service.engine.load
        response.status_code = 200 if load.status == "ok" else 503
        return Health(base=service.variants.base.source, **asdict(load))


async def _answered(service: Service, http: Request, body: type[Body], kind: type[Answer], *, prefix: str) -> Response:
    """Read a body, begin what it asks for, and deliver it."""
    service.admit(http)
    content, record = await read_body(http, limit=service.limits.max_bytes), record_of(http)
    try:
        asked = body.model_validate_json(content)
    except ValidationError as err:
        raise of_validation(err) from err
    request = asked.as_chat() if isinstance(asked, ResponsesRequest) else asked
    record.note(model=request.model, streamed=bool(request.stream))
    adapter = await asyncio.to_thread(service.variants.resolve, request.model)
    prompts = await asyncio.to_thread(service.prompts, request, adapter)
    if service.log.with_text:
        record.note(**_said(service, request, prompts))
    asks = [service.ask(request, ids, adapter) for ids in prompts]
    answers = service.begin(kind, asks, asked=asked, answer_id=f"{prefix}{record.request_id}")
    return await _deliver(service, http, kind, answers, is_streamed=bool(asked.stream))


def _said(service: Service, request: ChatRequest | CompletionRequest, prompts: Sequence[Sequence[int]]) -> JsonObject:
    """What was asked, for a log that was asked to hold it."""
    if isinstance(request, CompletionRequest):
        return {"prompts": [decode(service.model.tokenizer, ids) for ids in prompts]}
    return {"messages": [{"role": turn.role, "content": turn.text} for turn in request.messages]}


async def _deliver(
    service: Service, http: Request, kind: type[Answer], answers: Sequence[Answer], *, is_streamed: bool
) -> Response:
    """Wait for what was begun, whole or as a stream; however it ends, nothing is left in the engine."""
    record, first = record_of(http), answers[0]

    def close() -> None:
        for answer in answers:
            service.engine.cancel(answer.ticket)
        used = kind.used(answers)
        record.note(prompt_tokens=used.prompt_tokens, completion_tokens=used.completion_tokens)
        replies = [reply for answer in answers for reply in answer.replies]
        record.note(finish=[reply.finish for reply in replies])
        if service.log.with_text:
            record.note(replies=[reply.text for reply in replies])
        if is_streamed and first.first_token is not None:
            record.note(first_token_ms=round((first.first_token - first.ticket.submitted) * 1000, 1))

    try:
        if is_streamed:
            return EventStream(first.stream(await or_gone(http.receive, first.begin())), on_close=close)
        await or_gone(http.receive, _finish(answers))
    except BaseException:
        close()
        raise
    close()
    found = kind.whole(answers)
    text = found.model_dump_json() if isinstance(found, BaseModel) else json.dumps(found, ensure_ascii=False)
    return Response(text, media_type="application/json")


async def _finish(answers: Sequence[Answer]) -> None:
    for answer in answers:
        await answer.finish()


def _add_error_handlers(app: FastAPI) -> None:
    async def on_api_error(request: Request, err: Exception) -> Response:
        told = err if isinstance(err, ApiError) else internal(type(err).__name__)
        record_of(request).note(error=told.code or told.kind)
        return error_response(told)

    async def on_http(request: Request, err: Exception) -> Response:
        status = err.status_code if isinstance(err, HTTPException) else 500
        text = {404: "there is no such address", 405: "this address does not take this method"}.get(status, "refused")
        headers = err.headers if isinstance(err, HTTPException) else None
        return error_response(ApiError(status, text, code="not_found"), headers)

    async def on_invalid(request: Request, err: Exception) -> Response:
        return error_response(bad_request("the request's path or query is not valid"))

    async def on_broken(request: Request, err: Exception) -> Response:
        return error_response(internal("something broke while answering; the log has its request id"))

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_broken)
