"""One attempt: encode, send, and either the first content or a fault, as a value. What follows the first content is relayed here too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import aiohttp
import orjson

from fw_gateway import clock
from fw_gateway.exchange import Abandoned, Answer
from fw_gateway.pace import TICK, Pace
from fw_gateway.providers import guessing
from fw_gateway.providers.protocols import RUNNING
from fw_gateway.providers.splice import with_member
from fw_gateway.providers.watching import Watcher, error_text
from fw_gateway.providers.way import Way, way
from fw_gateway.state.health import Busy, Deployment
from fw_gateway.upstream import EXPECTED, Route, fault_of, retry_after
from fw_gateway.values import Attempt, AttemptReason, Call, Fault
from fw_policies.estimate.cost import charge
from fw_policies.model import Target

MAX_ANSWER = 64 * 2**20
"""Bytes of a whole answer; more is a fault."""
MAX_ERROR = 64 * 2**10
"""Bytes read of an upstream's error."""
HOP = 0.05
"""Seconds of what is left that a server behind this one is not given: its refusal has to come back in time."""
BELATED = 0.05
"""Seconds that the end of a stream waits for usage which has not come before it."""
LINGER = 0.25
"""Seconds that the connection of a finished stream may take to end; after that it is not kept."""
COUNTED = frozenset({"chat", "text_completion", "embeddings"})
"""Operations whose tokens are estimated where they are not reported."""
NOT_SENT = frozenset(
    {"ClientConnectorError", "ClientConnectorDNSError", "ClientConnectorCertificateError", "ConnectionTimeoutError"}
)
"""Exceptions by which a request never left."""
NOT_OURS = frozenset({400, 404, 405, 409, 413, 415, 422, 501})
"""Statuses by which an upstream blames the request: every target would say the same."""
KEY = frozenset({401, 402, 403})
"""Statuses by which an upstream blames the gateway's own key."""
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "quota_exceeded"})
"""Codes by which it says that the account has nothing left; their status is often 429, and no pause helps."""


@dataclass(slots=True)
class Opened:
    """A committed answer: the client's from here on."""

    attempt: Attempt
    status: int
    content_type: str
    body: bytes | AsyncIterator[bytes]
    tail: bytes = b""
    """What ends the body of a stream that was held; kept apart, for a receipt goes before it."""


@dataclass(slots=True)
class Try:
    """One attempt in the making."""

    call: Call
    attempt: Attempt
    route: Route
    way: Way
    busy: Busy
    mark: float = 0.0
    effort: str | None = None
    """Reasoning effort to ask for where the caller did not."""
    priority: int = 0
    """What its engine is told; 0: nothing."""
    lossless: bool = False
    """Not to be asked at all when its protocol cannot say all of the request."""
    machine_seconds: float | None = None

    def left(self) -> float:
        """Seconds until the call's deadline."""
        return self.call.deadline - clock.monotonic()

    def late(self) -> bool:
        """Whether it was the deadline that ended a wait."""
        return self.left() <= TICK


def begin(
    call: Call, target: Target, route: Route, deployment: Deployment, *, number: int, reason: AttemptReason
) -> Try:
    """A fresh attempt; its clock runs from here."""
    if route.endpoint.forward_name:
        target = route.named(call.model)
    now = clock.monotonic()
    attempt = Attempt(number, reason, target, clock.span_id(), clock.wall_ns(), now, server=route.server)
    found = way(call, route.endpoint)
    return Try(call, attempt, route, found, deployment.busy, deployment.busy.enter(now))


async def run(one: Try) -> Opened | Fault:
    """Make the attempt. A fault leaves it finished; an answer that streams finishes with its stream.

    Raises:
        asyncio.CancelledError: the client left; the attempt is finished as cancelled.
    """
    body, headers = _request(one)
    if one.lossless and one.attempt.lost:
        fault = _lossy(one)
        _failed(one, fault)
        return fault
    try:
        found = await (_stream(one, body, headers) if one.call.stream else _whole(one, body, headers))
    except EXPECTED as exc:
        found = fault_of(exc)
    except asyncio.CancelledError:
        finish(one, outcome="cancelled")
        raise
    if isinstance(found, Fault):
        _failed(one, found)
    return found


async def held(one: Try, found: Opened) -> Opened | Fault:
    """A stream read to its end before the client sees any of it; a break within is a fault like any other.

    Raises:
        asyncio.CancelledError: the client left; the attempt is finished as cancelled.
    """
    body, attempt = found.body, one.attempt
    if isinstance(body, bytes):
        return found
    pieces, size = [], 0
    try:
        async for data in body:
            pieces.append(data)
            size += len(data)
            if size > MAX_ANSWER:
                fault = Fault("invalid_response", "the answer is too large to be checked")
                _failed(one, fault)
                return fault
    finally:
        closer = getattr(body, "aclose", None)
        if closer is not None:
            await closer()
    if attempt.outcome != "success":
        return Fault(attempt.error_type or "_OTHER", attempt.message or "the stream broke", exception=attempt.exception)
    return replace(found, body=b"".join(pieces[:-1]), tail=pieces[-1])


def finish(one: Try, *, outcome: str, fault: Fault | None = None) -> None:
    """Close the books on an attempt, once."""
    attempt = one.attempt
    if attempt.outcome is not None:
        return
    attempt.ended = clock.monotonic()
    attempt.outcome = outcome  # type: ignore[assignment]
    seconds = one.busy.leave(one.mark, attempt.ended)
    one.machine_seconds = seconds if attempt.target.self_hosted else None
    if fault is not None:
        attempt.error_type, attempt.exception, attempt.message = fault.error_type, fault.exception, fault.message
        attempt.status = fault.status or attempt.status
    attempt.cost = charge(attempt.target.price, attempt.usage, machine_seconds=one.machine_seconds)
    if attempt.cost is None and fault is not None and _unbilled(fault) and attempt.target.price is not None:
        attempt.cost = 0
    if attempt.cost is None and attempt.guess is not None:
        attempt.guessed_cost = charge(attempt.target.price, attempt.guess)


def _guess(one: Try, answered: Callable[[], int | None]) -> None:
    """Estimate what was not reported; `answered` counts the answer, where it must be counted."""
    usage, call = one.attempt.usage, one.call
    if call.operation not in COUNTED:
        return
    answers = call.operation != "embeddings"
    if usage is None or usage.input_tokens is None or (answers and usage.output_tokens is None):
        outgoing = answered() if answers else None
        one.attempt.guess = guessing.completed(usage, guessing.asked(call.fields), outgoing)


def _unbilled(fault: Fault) -> bool:
    """Whether the provider surely charges nothing: it refused, or was never reached."""
    return (fault.status or 0) >= 300 or fault.exception in NOT_SENT


def _lossy(one: Try) -> Fault:
    """Why a target that would lose something is not asked."""
    told = f"{one.way.spoken.name} cannot say {', '.join(one.attempt.lost)}, and the policy asks for `lossless`"
    return Fault("400", told, status=400, ours=True)


def _failed(one: Try, fault: Fault) -> None:
    finish(one, outcome="timeout" if fault.error_type == "timeout" else "error", fault=fault)


def _request(one: Try) -> tuple[bytes, dict[str, str]]:
    """Body and per-call headers."""
    call, attempt, chosen = one.call, one.attempt, one.way
    asked = one.effort if "reasoning" in attempt.target.capabilities and not call.asked.effort else None
    body = chosen.request(attempt.target.upstream_model, asked)
    if one.priority and chosen.spoken.name in RUNNING and "priority" not in call.fields:
        body = with_member(body, "priority", one.priority)
    attempt.lost = chosen.lost
    if chosen.spoken.name != call.protocol:
        attempt.protocol = chosen.spoken.name
    extra = chosen.headers()
    if one.route.endpoint.traceparent:
        trace = call.trace
        extra["traceparent"] = f"00-{trace.trace_id}-{attempt.span_id}-{trace.flags & 3:02x}"
        if trace.state:
            extra["tracestate"] = trace.state
        extra["x-request-timeout"] = f"{max(0.0, one.left() - HOP):.3f}"
    return body, extra


async def _send(one: Try, body: bytes, extra: dict[str, str], until: float) -> Answer:
    """Send it; once more when a kept connection turns out to be dead before one byte came back. `until`: monotonic seconds."""
    path = one.way.spoken.path
    post = one.route.line.post
    try:
        return await post(path, extra, body, within=until - clock.monotonic())
    except Abandoned:
        one.attempt.resends += 1
        return await post(path, extra, body, within=until - clock.monotonic(), fresh=True)


async def _whole(one: Try, sent: bytes, extra: dict[str, str]) -> Opened | Fault:
    limit, until = one.route.endpoint.answer_limit, one.call.deadline
    response = await _send(one, sent, extra, until if limit is None else min(clock.monotonic() + limit, until))
    try:
        if response.status >= 300:
            return await _refusal(one, response)
        body = await _read(response)
    except BaseException:
        response.close()
        raise
    attempt = one.attempt
    attempt.status = response.status
    answer, told = one.way.whole(body)
    attempt.lost = one.way.lost
    attempt.usage = answer.usage
    if answer.problem:
        return Fault("invalid_response", answer.problem, status=response.status)
    attempt.response_id, attempt.response_model = answer.id, answer.model
    attempt.finish_reasons = answer.finish_reasons
    _guess(one, lambda: guessing.answered(body))
    finish(one, outcome="success")
    kind = "application/json" if attempt.protocol else response.headers.get("content-type", "application/json")
    return Opened(attempt, response.status, kind, told)


async def _read(response: Answer) -> bytes:
    """The whole body.

    Raises:
        aiohttp.ClientPayloadError: it was cut short, or is too large.
    """
    size = response.content_length
    if size is not None and size <= MAX_ANSWER:
        return await response.read()
    body, rest = await _up_to(response, MAX_ANSWER)
    if rest:
        raise aiohttp.ClientPayloadError("the answer is too large")
    return body


async def _up_to(response: Answer, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the body, and whether there was more."""
    pieces, size = [], 0
    while data := await response.some():
        pieces.append(data)
        size += len(data)
        if size > limit:
            return b"".join(pieces)[:limit], True
    return b"".join(pieces), False


async def _refusal(one: Try, response: Answer) -> Fault:
    """An answer that is no success, as a fault; its body is kept to be relayed."""
    status = response.status
    body, rest = await _up_to(response, MAX_ERROR)
    if rest:
        response.close()
    kind = response.headers.get("content-type", "")
    if status < 400:
        return Fault(str(status), "the upstream answered with a redirect, which is never followed", status=status)
    message, code = _message(body)
    error_type = {"context_length_exceeded": "context_length_exceeded", "content_filter": "content_filter"}.get(
        code, str(status)
    )
    return Fault(
        error_type,
        message or f"the upstream answered {status}",
        status=status,
        retryable=status not in NOT_OURS,
        key=status in KEY or code in SPENT,
        retry_after=retry_after(response.headers.get("retry-after"), response.headers.get("retry-after-ms")),
        body=body if message and "json" in kind and not rest else None,
        content_type=kind or "application/json",
        protocol=one.way.spoken.name,
    )


def _message(body: bytes) -> tuple[str, str]:
    """Message and code of an error body, if it is one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    inner = found.get("error") or found
    code = inner.get("code") if isinstance(inner, dict) else ""
    return error_text(inner), code if isinstance(code, str) else ""


async def _stream(one: Try, sent: bytes, extra: dict[str, str]) -> Opened | Fault:
    """Read until the first content: then the stream is the client's."""
    attempt = one.attempt
    until = min(clock.monotonic() + one.route.endpoint.ttft_limit, one.call.deadline)
    watcher = one.way.watcher()
    response = await _send(one, sent, extra, until)
    opened = False
    try:
        if response.status >= 300:
            return await _refusal(one, response)
        attempt.status = response.status
        kind = response.headers.get("content-type", "")
        if "event-stream" not in kind:
            return await _not_a_stream(response)
        first = one.way.out(await _head(response, watcher, attempt))
        response.at_leisure()
        if not watcher.started:
            return _empty(watcher, attempt)
        opened = True
        body = relay(one, response, watcher, first)
        await anext(body)
        return Opened(attempt, 200, "text/event-stream; charset=utf-8", body)
    except asyncio.CancelledError:
        if attempt.status is not None and not opened:  # it had begun, so it is paid for
            _observed(one, watcher)
        raise
    finally:
        if not opened and not response.closed:
            response.close()


async def _head(response: Answer, watcher: Watcher, attempt: Attempt) -> bytes:
    """What may be relayed when the first content is there; empty when the stream ended before."""
    first = b""
    while not watcher.started and not watcher.over:
        data = await response.some()
        if not data:
            break
        if attempt.ttft is None:
            attempt.ttft = clock.monotonic() - attempt.started
        first = watcher.feed(data)
    attempt.first_content = clock.monotonic() - attempt.started
    return first


async def _not_a_stream(response: Answer) -> Fault:
    body, _ = await _up_to(response, MAX_ERROR)
    message, _ = _message(body)
    return Fault(
        "invalid_response", message or "the upstream answered a stream with something else", status=response.status
    )


def _empty(watcher: Watcher, attempt: Attempt) -> Fault:
    """Why a stream that never brought content is a fault."""
    attempt.first_content = None
    attempt.usage = watcher.usage
    attempt.stream_outcome = "upstream_interrupted"
    if watcher.error is not None:
        return Fault("stream_interrupted", str(watcher.error["message"]), status=attempt.status)
    return Fault("stream_interrupted", watcher.problem or "the stream ended before any content", status=attempt.status)


async def relay(one: Try, response: Answer, watcher: Watcher, first: bytes) -> AsyncIterator[bytes]:
    """The rest of a committed stream. It ends well, or with an error in band, or because the client left.

    The first item is empty: once it was taken, closing the stream closes the attempt too, whether or not anyone reads on.
    """
    attempt = one.attempt
    pace = Pace(response, watcher, stall=one.route.endpoint.stall_limit, deadline=one.call.deadline)
    fault: Fault | None = None
    try:
        yield b""
        yield first
        while not watcher.over:
            try:
                data = await pace.read()
            except EXPECTED as exc:
                fault = fault_of(exc)
                break
            if not data:
                break
            out = one.way.out(pace.fed(data))
            attempt.max_gap = pace.max_gap
            if out:
                yield out
        if watcher.complete and watcher.usage is None and not response.over:
            await _belated(response, watcher)
        fault = _verdict(watcher, fault, one)
        _note(one, watcher, fault)
        if fault is None:
            yield one.way.ending(watcher)
            await _end(response)
        else:
            response.close()
            yield one.way.failure(watcher, _in_band(watcher, fault, one))
    finally:
        pace.stop()
        if attempt.outcome is None:
            attempt.stream_outcome = "client_disconnected"
            _observed(one, watcher)
            finish(one, outcome="cancelled")
        if not response.closed:
            response.close()


def _verdict(watcher: Watcher, fault: Fault | None, one: Try) -> Fault | None:
    """Whether the stream is whole. A finish reason makes it so, whatever happened to the connection after."""
    if watcher.error is not None:
        return Fault("stream_interrupted", str(watcher.error["message"]))
    if watcher.problem:
        return Fault("invalid_response", watcher.problem)
    if watcher.complete or (fault is None and not watcher.MARKED):
        return None
    if fault is not None:
        return replace(fault, message="the deadline passed before the answer was whole") if one.late() else fault
    return Fault("stream_interrupted", "the upstream ended the stream before the answer was whole")


def _observed(one: Try, watcher: Watcher) -> None:
    attempt = one.attempt
    attempt.usage = watcher.usage
    _guess(one, lambda: watcher.chunks)
    attempt.chunks = watcher.chunks
    attempt.response_id, attempt.response_model = watcher.id, watcher.model
    attempt.finish_reasons = watcher.reasons


def _note(one: Try, watcher: Watcher, fault: Fault | None) -> None:
    attempt = one.attempt
    attempt.lost = one.way.lost
    _observed(one, watcher)
    if fault is None:
        attempt.stream_outcome = "completed"
        finish(one, outcome="success")
    else:
        attempt.stream_outcome = "upstream_interrupted"
        _failed(one, fault)


def _in_band(watcher: Watcher, fault: Fault, one: Try) -> dict[str, object]:
    """The error that a client sees in the stream, in OpenAI's shape."""
    if watcher.error is not None:
        return dict(watcher.error)
    code = "deadline_exceeded" if one.late() else fault.error_type
    kind = "timeout_error" if fault.error_type == "timeout" else "upstream_error"
    return {"message": fault.message, "type": kind, "param": None, "code": code}


async def _belated(response: Answer, watcher: Watcher) -> None:
    """Listen a moment longer for usage that is told after the terminator."""
    response.within(BELATED)
    try:
        while watcher.usage is None and (data := await response.some()):
            watcher.feed(data)
    except EXPECTED:
        return
    finally:
        response.at_leisure()


async def _end(response: Answer) -> None:
    """Let the connection be used again when the stream came to its end."""
    if response.over:
        return
    try:
        async with asyncio.timeout(LINGER):
            while await response.some():
                pass
    except EXPECTED:
        response.close()
