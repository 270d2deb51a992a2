"""What a client is told when something is wrong: OpenAI's shape, the right status, one clear sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, IntegrityError, ScreentestError

if TYPE_CHECKING:
    from pydantic import ValidationError

# The official client repeats requests that met 5xx, 409 or 429, unless this header says that it would not help.
DO_NOT_RETRY = {"x-should-retry": "false"}
_KINDS = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
_CONNECTIVES = frozenset({"str", "int", "float", "bool", "constrained-str", "function-after"})


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`param` is the field of the request that is to blame."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = _KINDS.get(status, "invalid_request_error")
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def bad_request(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """The request cannot be answered as it is."""
    return ApiError(400, message, code=code, param=param)


def unknown_model(message: str) -> ApiError:
    """No variant of that name is served."""
    return ApiError(404, message, code="model_not_found", param="model")


def too_large(limit: int) -> ApiError:
    """The request's body is over the limit."""
    return ApiError(413, f"the request must have at most {limit} bytes; shorten it", code="request_too_large")


def too_many(message: str, *, code: str, retry_after: int) -> ApiError:
    """A limit of the server is reached; waiting helps."""
    return ApiError(429, message, code=code, headers={"Retry-After": str(retry_after)})


def internal(message: str) -> ApiError:
    """Something broke on this side."""
    return ApiError(500, message, code="internal_error")


def of_screentest(err: ScreentestError) -> ApiError:
    """Our own errors about a variant: what the caller gave is 400, the rest is 503, of altered files for good."""
    if isinstance(err, InputError):
        return bad_request(str(err), param="model")
    code = "adapter_altered" if isinstance(err, IntegrityError) else "unavailable"
    return ApiError(503, str(err), code=code, param="model", headers=DO_NOT_RETRY)


def of_validation(err: ValidationError) -> ApiError:
    """The first rule that the request breaks; what was sent is not repeated."""
    first = err.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return bad_request(f"the request must be valid JSON; {first['msg']}", code="invalid_json")
    param = _path(first["loc"])
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return bad_request(
            f"`{param}` is not a field that this server knows; leave it out", code="unknown_field", param=param
        )
    if first["type"] == "too_long" and " at most 0 " in rule:
        rule = "must be empty, for this server does nothing of the kind; leave it out"
    where = f"`{param}`: " if param else ""
    return bad_request(f"{where}{rule[:1].lower()}{rule[1:]}", code="invalid_value", param=param or None)


def _path(location: Sequence[str | int]) -> str:
    """A field's place as `messages.0.content`; names of union members are not places."""
    parts = [str(part) for part in location if isinstance(part, int) or not _is_connective(part)]
    return ".".join(parts).encode("utf-8", "replace").decode()[:200]


def _is_connective(part: str) -> bool:
    return part in _CONNECTIVES or "[" in part
