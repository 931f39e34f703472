"""Errors in the shape of Anthropic."""

from collections.abc import Mapping
from typing import Any

_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OWN = frozenset(_KINDS.values())
_OTHERS: Mapping[str, str] = {"insufficient_quota": "billing_error", "server_error": "api_error"}


def error_body(status: int, message: str, kind: str = "", code: str = "") -> dict[str, Any]:
    """An error of that status. A `kind` that the protocol has no word for gives way to the status's."""
    usual = _KINDS.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")
    specific = kind in _OWN and not (kind == "invalid_request_error" and status in _KINDS)
    error = {"type": kind if specific else _OTHERS.get(kind, usual), "message": message}
    return {"type": "error", "error": {**error, "details": {"error_code": code}} if code else error}


def status_of(kind: str) -> int:
    """The status that an error would have had, had it not come in band."""
    return next((status for status, word in _KINDS.items() if word == kind), 500)


def read_error(body: Any, status: int) -> tuple[str, str, str]:
    """Message, kind and code; the kind is never empty."""
    found = body.get("error", body) if isinstance(body, Mapping) else body
    usual = str(error_body(status, "")["error"]["type"])
    if not isinstance(found, Mapping):
        return _text(found), usual, ""
    details = found.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else found.get("code")
    kind = _text(found.get("type"))
    return _text(found.get("message")), kind if kind and kind != "error" else usual, _text(code)


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""
