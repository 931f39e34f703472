"""Every failure the gateway itself may answer with: a name, a status, a hint.

GatewayError
├── BadRequest 400          the request cannot be understood or served as it stands
│   ├── UnknownModel 404    no configured model has that name
│   ├── UnknownRoute 404
│   ├── WrongMethod 405
│   ├── BodyTooLarge 413
│   └── Unsupported 415     encoding or media type
├── Unauthorized 401        no key, or not this server's key
├── BudgetExceeded 402      the run has nothing left to spend
├── NoCandidate 503         no target may serve this step now
├── UpstreamFailed 502      every target failed; says what the last one said
├── VerificationFailed 502  no answer passed the checks of the policy, and it refuses to pass one on
├── DeadlineExceeded 504    time ran out, ours or the client's
├── Overloaded 503          what may serve has as many calls as it can take
├── Draining 503            this process is going down
└── Internal 500            a bug of ours; never planned
"""

import json
from typing import Any, ClassVar

import orjson


def written(payload: Any) -> bytes:
    """JSON; a text that is not Unicode (a header may hold any bytes) is written with escapes."""
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError:
        return json.dumps(payload).encode()


class GatewayError(Exception):
    """Base of all. `type` and `code` are OpenAI's error fields; `error_type` is the name in telemetry."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "internal_error"
    error_type: ClassVar[str] = "_OTHER"

    def __init__(
        self, message: str, *, hint: str = "", param: str | None = None, retry_after: float | None = None
    ) -> None:
        """`message` says what was wrong, `hint` what to do about it."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's shape; the hint is part of the message, because clients print nothing else."""
        text = f"{self.message} {self.hint}".strip()
        return {"error": {"message": text, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(GatewayError):
    """The request cannot be served as it stands; sending it again will not help."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    error_type = "400"


class UnknownModel(BadRequest):
    """No configured model, agent or step has that name."""

    status = 404
    code = "model_not_found"
    error_type = "404"


class UnknownRoute(BadRequest):
    """Nothing is served at that path."""

    status = 404
    code = "unknown_route"
    error_type = "404"


class WrongMethod(BadRequest):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    error_type = "405"


class BodyTooLarge(BadRequest):
    """The body is over the limit; it was not read."""

    status = 413
    code = "body_too_large"
    error_type = "413"


class Unsupported(BadRequest):
    """An encoding or media type that is not accepted."""

    status = 415
    code = "unsupported_media_type"
    error_type = "415"


class Unauthorized(GatewayError):
    """No key was given, or it is not this server's."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    error_type = "401"


class BudgetExceeded(GatewayError):
    """The run has nothing left to spend; a larger budget is the only cure."""

    status = 402
    type = "insufficient_quota"
    code = "budget_exceeded"
    error_type = "budget_exceeded"


class NoCandidate(GatewayError):
    """No target may serve this step now; the hint says what is missing."""

    status = 503
    code = "no_candidate"
    error_type = "no_candidate"


class UpstreamFailed(GatewayError):
    """Every target that was tried failed."""

    status = 502
    code = "upstream_failed"
    error_type = "502"


class VerificationFailed(GatewayError):
    """No answer passed its checks, and the policy says: refuse."""

    status = 502
    code = "verification_failed"
    error_type = "invalid_response"


class DeadlineExceeded(GatewayError):
    """Time ran out before an answer came."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"
    error_type = "timeout"


class Overloaded(GatewayError):
    """Everything that may serve this call has as many as it can take; trying again a little later helps."""

    status = 503
    code = "overloaded"
    error_type = "rate_limited_local"


class Draining(GatewayError):
    """The process is shutting down and takes no new work."""

    status = 503
    code = "draining"
    error_type = "503"


class Internal(GatewayError):
    """A bug of ours."""
