"""One record as spans: SERVER, route, and one attempt span each, siblings under it."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from fw_gateway import clock
from fw_gateway.telemetry import attributes
from fw_gateway.telemetry.otlp import CLIENT, INTERNAL, SERVER, Fragment, Link, Span, Value
from fw_gateway.values import Attempt, Call, Record
from fw_policies.model import Plan, Target

Key = TypeVar("Key")
Made = TypeVar("Made")


class ByIdentity(Generic[Key, Made]):
    """What was made of an object, remembered by the object itself (plans and targets live long and are shared by calls)."""

    __slots__ = ("_kept", "_limit", "_make")

    def __init__(self, make: Callable[[Key], Made], limit: int = 1024) -> None:
        """At most `limit` objects are remembered, then all are forgotten."""
        self._make = make
        self._limit = limit
        self._kept: dict[int, tuple[Key, Made]] = {}

    def __getitem__(self, key: Key) -> Made:
        found = self._kept.get(id(key))
        if found is not None:
            return found[1]  # the object is held here, so its id cannot have been given to another
        if len(self._kept) >= self._limit:
            self._kept.clear()
        made = self._make(key)
        self._kept[id(key)] = (key, made)
        return made


class Renderer:
    """Makes the spans of a record; remembers what plans and targets look like."""

    def __init__(self, *, providers: Mapping[str, str], version: str, prices: str = "") -> None:
        """`providers`: our name of a provider -> `gen_ai.provider.name`; `prices`: version of the price table."""
        self._prices = prices
        self._providers = providers
        self._routes = ByIdentity[Plan, Fragment](
            lambda plan: Fragment(attributes.route_attributes(plan, version=version))
        )
        self._targets = {
            operation: ByIdentity[Target, Fragment](self._target_maker(operation))
            for operation in attributes.OPERATIONS
        }

    def provider(self, target: Target) -> str:
        """`gen_ai.provider.name` of a target."""
        return self._providers.get(target.provider, target.provider)

    def route(self, plan: Plan) -> Fragment:
        """The attributes of a plan's route span."""
        return self._routes[plan]

    def _target_maker(self, operation: str) -> Callable[[Target], Fragment]:
        return lambda target: Fragment(attributes.target_attributes(target, operation, provider=self.provider(target)))

    def spans(self, record: Record) -> tuple[list[Span], str]:
        """All spans of a call, and the id of its route span ("" when nothing was planned)."""
        call, plan = record.call, record.plan
        who = attributes.identity(call)
        begin, last = call.started_ns, _end(record)
        spans: list[Span] = []
        if not call.embedded:
            spans.append(_server(record, who, last))
        route_id = ""
        if plan is not None:
            route_id = clock.span_id()
            start = min(max(record.routed_ns, begin), last)
            spans.append(
                Span(
                    trace_id=call.trace.trace_id,
                    span_id=route_id,
                    parent_id=call.span_id,
                    name=f"route {plan.policy or plan.reason}",
                    kind=INTERNAL,
                    start=start,
                    end=min(start + int(record.routing * 1e9), last),
                    own={"fw.decision.id": call.decision_id, **who},
                    shared=(self._routes[plan],),
                    state=call.trace.state,
                    flags=call.trace.flags,
                )
            )
        if record.attempts:
            asked = attributes.request_attributes(call)
            asked.update(who)
            spans.extend([self._attempt(attempt, record, asked, route_id) for attempt in record.attempts])
        return spans, route_id

    def _attempt(self, attempt: Attempt, record: Record, asked: Mapping[str, Value], route_id: str) -> Span:
        call, target = record.call, attempt.target
        own = attributes.attempt_attributes(attempt, call, prices=self._prices)
        own.update(asked)
        start = at(call, attempt.started)
        end = at(call, attempt.ended if attempt.ended is not None else max(record.ended, attempt.started))
        error = own.get("error.type")
        return Span(
            trace_id=call.trace.trace_id,
            span_id=attempt.span_id,
            parent_id=call.span_id,
            name=f"{call.operation} {target.upstream_model}",
            kind=CLIENT,
            start=start,
            end=max(start, end),
            own=own,
            shared=(self._targets[call.operation][target],),
            links=_links(attempt, record.attempts, route_id),
            state=call.trace.state,
            error=None if error is None else describe(attempt),
            flags=call.trace.flags,
        )


def describe(attempt: Attempt) -> str:
    """A failed attempt in one safe sentence: providers echo prompts in their errors, so none of their words are in it."""
    said = attributes.error_type(attempt.error_type)
    status = f" (HTTP {attempt.status})" if attempt.status and str(attempt.status) != said else ""
    return f"{attempt.target.deployment}: {said}{status}"


def at(call: Call, moment: float) -> int:
    """A monotonic moment as nanoseconds since the epoch, counted from the call's own beginning: a clock that is set cannot disorder spans."""
    return call.started_ns + max(0, round((moment - call.started) * 1e9))


def _end(record: Record) -> int:
    moments = [attempt.ended for attempt in record.attempts if attempt.ended is not None]
    return at(record.call, max([record.ended, *moments]))


def _server(record: Record, who: Mapping[str, Value], last: int) -> Span:
    call = record.call
    own = attributes.server_attributes(record)
    own.update(attributes.call_attributes(record))
    own.update(who)
    failed = record.status >= 500
    return Span(
        trace_id=call.trace.trace_id,
        span_id=call.span_id,
        parent_id=call.trace.parent_id,
        name=f"POST {call.route}",
        kind=SERVER,
        start=call.started_ns,
        end=last,
        own=own,
        state=call.trace.state,
        remote=bool(call.trace.parent_id),
        error=f"HTTP {record.status}" if failed else None,
        flags=call.trace.flags,
    )


def _links(attempt: Attempt, attempts: list[Attempt], route_id: str) -> tuple[Link, ...]:
    links = (Link(route_id, "decided_by"),) if route_id else ()
    if attempt.number > 1 and attempt.reason in ("retry", "fallback", "hedge", "cascade"):
        number = attempt.follows if attempt.follows is not None else attempt.number - 1
        followed = next((other for other in attempts if other.number == number), None)
        if followed is not None and followed is not attempt:
            return (*links, Link(followed.span_id, f"{attempt.reason}_of"))
    return links
