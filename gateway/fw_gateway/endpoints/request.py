"""What an endpoint is given, whichever door it came through, and how its claims are read."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from fw_gateway import clock
from fw_gateway.endpoints.duplicates import duplicate
from fw_gateway.errors import BadRequest, written
from fw_gateway.values import Identity, Reply, Request, Trace
from fw_policies.model import NANO_USD

JSON = {"Content-Type": "application/json"}
MAX_NAME = 256
"""Characters that a name in a header may have."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MONEY = re.compile(r"\$?\s*(-?\d{1,12}(?:\.\d{1,12})?)\s*(?:USD)?", re.IGNORECASE)
_NAMES = tuple(
    f"x-fw-{name}" for name in ("agent", "step", "run", "thread", "path", "task", "policy", "idempotency-key")
)
DEPTH = 64
"""Levels that a body may be nested."""


class NotJSON(BadRequest):
    """The body cannot be parsed."""


def reply(payload: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON reply."""
    return Reply(status, {**JSON, **headers}, written(payload))


def parse_object(body: bytes, first: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """The body as a JSON object. `first` may refuse it before anything else is looked at that costs more than counting.

    Raises:
        BadRequest: it is not JSON, or no object, or too deep, or says twice what decisions are made by. NaN and Infinity are not JSON.
    """
    if not body:
        raise BadRequest("The body is empty.", hint="Send a JSON object.")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise NotJSON(f"The body is not valid JSON: {fault}.", hint="NaN and Infinity are not JSON either.") from None
    if not isinstance(found, dict):
        raise BadRequest(f"The body must be a JSON object, not {_kind(found)}.")
    if first is not None:
        first(found)
    if not _shallow(body) and _deeper(found, DEPTH):
        raise BadRequest(f"The body is nested deeper than {DEPTH} levels.")
    if twice := duplicate(body, found):
        raise BadRequest(f"`{twice}` stands twice in the body.", hint="Send it once.", param=twice)
    return found


def _shallow(body: bytes) -> bool:
    """Whether a body of usual size has too few brackets to be nested deep."""
    return len(body) < 2**14 and body.count(b"{") + body.count(b"[") <= DEPTH


def _deeper(found: dict[str, Any], levels: int) -> bool:
    """Whether containers are nested more than `levels` deep."""
    layer: list[Any] = [found]
    for _ in range(levels):
        layer = [
            item
            for holder in layer
            for item in (holder.values() if type(holder) is dict else holder)
            if type(item) is dict or type(item) is list
        ]
        if not layer:
            return False
    return True


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number with a fraction, or beyond 64 bits",
        type(None): "null",
    }
    return names.get(type(value), "an object")


def want(
    fields: Mapping[str, Any], name: str, kind: type | tuple[type, ...], words: str, *, needed: bool = False
) -> Any:
    """The value of a field if it has the right type; None when absent (or null).

    Raises:
        BadRequest: it is missing though needed, or of another type.
    """
    value = fields.get(name)
    if value is None:
        if needed:
            raise BadRequest(f"`{name}` is missing: it must be {words}.", param=name)
        return None
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise BadRequest(f"`{name}` must be {words}, not {_kind(value)}.", param=name)
    return value


def money(text: str, name: str) -> int:
    """Nano-USD of a text like `2 USD`.

    Raises:
        BadRequest: it is no amount.
    """
    found = _MONEY.fullmatch(text.strip())
    if found is None or not ("usd" in text.lower() or "$" in text or text.strip() == "0"):
        raise BadRequest(f"{name} must be an amount like `2 USD`, not `{text[:40]}`.", param=name)
    whole, _, part = found[1].partition(".")
    amount = abs(int(whole)) * NANO_USD + int(part[:9].ljust(9, "0") or 0)
    return -amount if whole.startswith("-") else amount


def identity(headers: Mapping[str, str]) -> Identity:
    """Who is calling, as claimed.

    Raises:
        BadRequest: a claim cannot be read.
    """
    get = headers.get
    attempt, labels, budget = get("x-fw-attempt"), get("x-fw-labels"), get("x-fw-budget")
    agent, step, run, thread, path, task, policy, key = [
        _name(value, name) if (value := get(name)) else "" for name in _NAMES
    ]
    return Identity(
        agent,
        step,
        run,
        thread,
        path,
        task,
        _attempt(attempt) if attempt else 1,
        _labels(labels) if labels else (),
        policy,
        money(budget, "x-fw-budget") if budget else None,
        key,
    )


def _name(value: str, header: str) -> str:
    if len(value) > MAX_NAME or not value.isprintable():
        raise BadRequest(f"{header} must be printable and at most {MAX_NAME} characters long.", param=header)
    return value


def _attempt(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) < 10**6:
        raise BadRequest(f"x-fw-attempt must be a whole number from 1 on, not `{value[:40]}`.", param="x-fw-attempt")
    return int(value[:9])


def _labels(value: str) -> tuple[tuple[str, str], ...]:
    found = {}
    if len(value) > 8 * MAX_NAME or not value.isprintable():
        raise BadRequest(
            f"x-fw-labels must be printable and at most {8 * MAX_NAME} characters long.", param="x-fw-labels"
        )
    for pair in value.split(","):
        name, equals, text = pair.strip().partition("=")
        if not equals or not name:
            hint = "Write `name=value,name=value`."
            raise BadRequest(f"x-fw-labels cannot be read at `{pair.strip()[:40]}`.", hint=hint, param="x-fw-labels")
        found[name.strip()] = text.strip()
    return tuple(sorted(found.items()))


def timeout(headers: Mapping[str, str], longest: float) -> float:
    """Seconds that the request may take.

    Raises:
        BadRequest: x-request-timeout is no positive number.
    """
    value = headers.get("x-request-timeout")
    if not value:
        return longest
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        message = f"x-request-timeout must be a positive number of seconds, not `{value[:40]}`."
        raise BadRequest(message, param="x-request-timeout")
    return min(seconds, longest)


def trace(headers: Mapping[str, str]) -> Trace:
    """The caller's trace, or a new one. A traceparent that cannot be read begins a new trace, as W3C asks."""
    value = headers.get("traceparent")
    found = _TRACEPARENT.fullmatch(value) if value else None
    if found is None or found[1] == "0" * 32 or found[2] == "0" * 16:
        return Trace(clock.trace_id(), flags=3)
    state = headers.get("tracestate", "")
    return Trace(found[1], found[2], int(found[3], 16), state if state.isascii() and state.isprintable() else "")


__all__ = [
    "JSON",
    "MAX_NAME",
    "NotJSON",
    "Request",
    "identity",
    "money",
    "parse_object",
    "reply",
    "timeout",
    "trace",
    "want",
]
