"""Fakes for your own tests, which we promise to keep: a transport that plays a script, a clock you move by hand, and no network.

transport = FakeTransport(completion("42"), stream("4", "2"), error(429, retry_after=1))
fw = Client(transport=transport)
assert fw.chat("What is it?").text == "42"
assert transport.requests[0].json["model"] == "auto"
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fwsdk.config import forbid_network
from fwsdk.transport import Request, Response

__all__ = [
    "FakeTransport",
    "ManualClock",
    "Played",
    "Recorded",
    "completion",
    "error",
    "event",
    "forbid_network",
    "reply",
    "stream",
]


@dataclass(frozen=True, slots=True)
class Played:
    """One answer of a script. `fault` is raised after the chunks have been given."""

    chunks: tuple[bytes, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: BaseException | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """As an engine in this process would report them."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that was made."""

    request: Request

    @property
    def headers(self) -> Mapping[str, str]:
        """As sent."""
        return self.request.headers

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.request.body or b"null")


class FakeTransport:
    """Plays its script, one entry a request: a `Played`, or an exception to raise. Records what it was asked."""

    def __init__(self, *script: Played | BaseException) -> None:
        """An exchange beyond the script fails the test."""
        self._script = list(script)
        self.requests: list[Recorded] = []
        self.cancelled: int = 0
        """Answers that were closed before their end."""
        self.closed: bool = False

    def then(self, *script: Played | BaseException) -> None:
        """Add to the script."""
        self._script.extend(script)

    async def send(self, request: Request) -> Response:
        """Play the next entry.

        Raises:
            AssertionError: the script is over.
        """
        self.requests.append(Recorded(request))
        if not self._script:
            raise AssertionError(f"the script has {len(self.requests) - 1} entries; {request.path} was one too many")
        entry = self._script.pop(0)
        if isinstance(entry, BaseException):
            raise entry
        return Response(entry.status, entry.headers, _Body(self, entry), attributes=lambda: entry.attributes)

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


class _Body:
    def __init__(self, owner: FakeTransport, entry: Played) -> None:
        self._owner = owner
        self._entry = entry
        self._rest = list(entry.chunks)
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._rest and not self._over:
            return self._rest.pop(0)
        ended, self._over = self._over, True
        if self._entry.fault is not None and not ended:
            raise self._entry.fault
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._owner.cancelled += not self._over
        self._over = True


class ManualClock:
    """Time that passes only when told to, or slept through. `draws` are the dice, repeated in turn."""

    def __init__(self, draws: Iterable[float] = (0.5,)) -> None:
        """`draws`: each in [0, 1)."""
        self.now: float = 1000.0
        self.slept: list[float] = []
        self._draws = list(draws)

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def wall(self) -> float:
        """Seconds since the epoch; the same as `monotonic` here."""
        return self.now

    def draw(self) -> float:
        """The next of the dice."""
        self._draws.append(self._draws.pop(0))
        return self._draws[-1]

    async def sleep(self, seconds: float) -> None:
        """Returns at once, that much later."""
        self.slept.append(seconds)
        self.now += seconds


def completion(
    text: str | None,
    *,
    tool_calls: Iterable[Mapping[str, Any]] = (),
    model: str = "fake",
    finish_reason: str | None = None,
    usage: tuple[int, int] | None = (5, 2),
    headers: Mapping[str, str] | None = None,
) -> Played:
    """A whole chat answer; `usage` is (prompt, completion) tokens."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls := list(tool_calls):
        message["tool_calls"] = calls
    reason = finish_reason or ("tool_calls" if calls else "stop")
    body = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }
    if usage is not None:
        body["usage"] = _usage(usage)
    return reply(body, headers=headers)


def reply(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Played:
    """Any JSON body."""
    return Played((json.dumps(body).encode(),), status, {"content-type": "application/json", **(headers or {})})


def error(
    status: int, message: str = "no", *, code: str | None = None, retry_after: float | None = None, **headers: str
) -> Played:
    """An error in OpenAI's shape; more headers by name, `_` for `-`."""
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    if retry_after is not None:
        found["retry-after"] = str(retry_after)
    body = {"error": {"message": message, "type": "api_error", "param": None, "code": code}}
    return reply(body, status=status, headers=found)


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def _chunk(model: str, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "chatcmpl-fake", "object": "chat.completion.chunk", "model": model, "choices": [choice]})


def stream(
    *pieces: str | Mapping[str, Any],
    model: str = "fake",
    finish_reason: str | None = "stop",
    usage: tuple[int, int] | None = (5, 2),
    receipt: Mapping[str, Any] | None = None,
    fault: BaseException | None = None,
    headers: Mapping[str, str] | None = None,
) -> Played:
    """A streamed chat answer, a chunk for each piece: a text, or a delta. `finish_reason` None and `fault` cut it short."""
    chunks = [_chunk(model, {"role": "assistant", "content": ""})]
    chunks += [_chunk(model, {"content": piece} if isinstance(piece, str) else piece) for piece in pieces]
    if finish_reason is not None:
        chunks.append(_chunk(model, {}, finish_reason))
        if usage is not None:
            chunks.append(event({"model": model, "choices": [], "usage": _usage(usage)}))
        if receipt is not None:
            chunks.append(b": fw-receipt " + json.dumps(receipt).encode() + b"\n\n")
        chunks.append(event(b"[DONE]"))
    return Played(tuple(chunks), 200, {"content-type": "text/event-stream", **(headers or {})}, fault)


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
