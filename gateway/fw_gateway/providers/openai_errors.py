"""Errors in the shape that OpenAI's protocols share. Pure."""

from collections.abc import Mapping
from typing import Any

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
