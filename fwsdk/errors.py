"""Everything that can go wrong with a call, drawn as a tree. Each class says what the caller may conclude and do.

FwError
├── ConnectionFailed      nothing came back; nothing was delivered. Start the gateway, or check FW_URL
├── DeadlineExceeded      time ran out; what had arrived is in `text`
├── StreamInterrupted     the answer began and broke off; what had arrived is in `text`; never sent again by itself
├── InvalidReply          an answer came that is not one; the gateway or a proxy before it is at fault
├── NetworkForbidden      this process may make no real call (a test said so)
├── MissingExtra          a part that is not installed; the message has the pip line
└── APIError              the gateway answered with an error; `status`, `code`, `hint`
    ├── BadRequest        4xx: the request is at fault; sending it again will not help
    │   ├── Unauthorized      401: no key, or a wrong one
    │   ├── BudgetExceeded    402: the run has nothing left to spend
    │   ├── Forbidden         403: the key may not do this
    │   ├── NotFound          404: no such model, run, decision or path
    │   └── RateLimited       429: wait `retry_after` seconds
    └── ServerError       5xx: the request was fine
        └── NoCandidate   503: no model may serve this step now; the message says what is missing
"""

from collections.abc import Mapping
from typing import Any

_NAMED = frozenset(
    (
        "timeout",
        "connection_error",
        "stream_interrupted",
        "client_disconnected",
        "context_length_exceeded",
        "content_filter",
        "guardrail_blocked",
        "budget_exceeded",
        "rate_limited_local",
        "no_candidate",
        "invalid_response",
        "_OTHER",
    )
)
"""The closed set of `error.type` besides HTTP statuses."""


class FwError(Exception):
    """Base of all. `hint` says what to do; `error_type` is the failure's name in telemetry."""

    error_type: str = "_OTHER"

    def __init__(self, message: str, *, hint: str = "") -> None:
        """`message` says what was wrong; the hint is printed after it."""
        super().__init__(f"{message} {hint}".strip())
        self.message: str = message
        self.hint: str = hint
        self.telemetry: Mapping[str, Any] = {}
        """What the answer said of itself for the caller's span: the decision, and, in process, what became of it."""


class ConnectionFailed(FwError):
    """Nothing came back at all. Nothing was delivered, so the call may be made again."""

    error_type = "connection_error"


class DeadlineExceeded(FwError):
    """Time ran out, here or in the gateway. `text` is what a stream had delivered by then."""

    error_type = "timeout"

    def __init__(self, message: str, *, hint: str = "", text: str = "") -> None:
        """`text`: what had arrived."""
        super().__init__(message, hint=hint)
        self.text: str = text


class StreamInterrupted(FwError):
    """The answer began and did not end. `text` is what had arrived; it is not the whole answer."""

    error_type = "stream_interrupted"

    def __init__(self, message: str, *, hint: str = "", text: str = "") -> None:
        """`text`: what had arrived."""
        super().__init__(message, hint=hint)
        self.text: str = text


class InvalidReply(FwError):
    """A success was announced and its body is not an answer, or not what `response_format` asked for."""

    error_type = "invalid_response"


class NetworkForbidden(FwError):
    """A real call was about to leave a process in which none may."""


class MissingExtra(FwError):
    """A part of the product that is not installed; the hint is the line that installs it."""


class APIError(FwError):
    """The gateway answered with an error."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """`body` is OpenAI's `error` object; header names are in lower case."""
        super().__init__(str(body.get("message") or f"the gateway answered with status {status}"))
        self.status: int = status
        self.code: str = str(body.get("code") or "")
        self.type: str = str(body.get("type") or "")
        self.param: str | None = body.get("param")
        self.request_id: str = headers.get("x-request-id", "")
        self.decision_id: str = headers.get("x-fw-decision-id", "")
        self.retry_after: float | None = None
        """Seconds the gateway asked to wait, when it did."""
        self.headers: Mapping[str, str] = headers
        self.error_type: str = self.code if self.code in _NAMED else str(status)


class BadRequest(APIError):
    """The request is at fault; sending it again will not help."""


class Unauthorized(BadRequest):
    """No key, or not this gateway's: set FW_API_KEY."""


class BudgetExceeded(BadRequest):
    """The run has nothing left to spend. A larger budget is the only cure."""


class Forbidden(BadRequest):
    """The key is good and may not do this."""


class NotFound(BadRequest):
    """No such model, run, decision or path."""


class RateLimited(BadRequest):
    """Too much at once; `retry_after` says for how long."""


class ServerError(APIError):
    """The request was fine and could not be served."""


class NoCandidate(ServerError):
    """No model may serve this step now; the message says what is missing."""


_BY_STATUS: dict[int, type[APIError]] = {
    401: Unauthorized,
    402: BudgetExceeded,
    403: Forbidden,
    404: NotFound,
    429: RateLimited,
}


def from_status(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> FwError:
    """The error that an HTTP answer stands for. A 504 is `DeadlineExceeded`: the time that ran out was this call's."""
    if status == 504:
        return DeadlineExceeded(str(body.get("message") or "the gateway ran out of time"))
    if body.get("code") == "no_candidate":
        return NoCandidate(status, body, headers)
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else BadRequest)
    return kind(status, body, headers)
