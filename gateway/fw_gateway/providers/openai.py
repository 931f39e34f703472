"""What OpenAI's protocols share: the shape of errors, members with one name and one meaning, how hard to think. Pure."""

from collections.abc import Mapping
from typing import Any, Final

BOTH: Final = frozenset({
    "metadata", "moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "service_tier", "store",
})  # fmt: skip
"""Members of a request that chat and Responses both have, by one name and with one meaning."""

BREAKPOINT: Final = "prompt_cache_breakpoint"
"""A mark on a content part in either, behind which the prompt's beginning is kept."""

LOGPROBS: Final = "message.output_text.logprobs"
"""What Responses is to `include` so that it tells how likely each token was."""

_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def sisters(one: str, other: str) -> bool:
    """Whether two dialects are OpenAI's, and not the same."""
    return one != other and one.startswith("openai_") and other.startswith("openai_")


def budget_effort(tokens: int) -> str:
    """The effort that stands for a number of tokens to think with: the highest whose usual budget it reaches."""
    steps = (("xhigh", 32_768), ("high", 16_384), ("medium", 4_096))
    return next((word for word, least in steps if tokens >= least), "low")


def error_body(status: int, message: str, kind: str = "", code: str = "") -> dict[str, Any]:
    """An error of that status; without a `kind` of its own it gets the usual one."""
    usual = _KINDS.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")
    return {"error": {"message": message, "type": kind or usual, "param": None, "code": code or None}}


def read_error(body: Any, status: int) -> tuple[str, str, str]:
    """Message, kind and code of an error in any of the shapes that servers of these protocols use; the kind is never empty."""
    found = body.get("error", body) if isinstance(body, Mapping) else body
    usual = error_body(status, "")["error"]["type"]
    if isinstance(found, Mapping):
        message = _text(found.get("message")) or _text(found.get("detail"))
        code = found.get("code")
        number = str(code) if isinstance(code, int) and not isinstance(code, bool) else ""
        return message, _text(found.get("type")) or usual, _text(code) or number
    return _text(found), usual, ""


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""
