"""One record as spans: SERVER, route, and one attempt span each, siblings under it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fw_gateway import clock
from fw_gateway.lasting import Lasting
from fw_gateway.telemetry import attributes
from fw_gateway.telemetry.otlp import CLIENT, INTERNAL, SERVER, Fragment, Link, Span, Value
from fw_gateway.values import Attempt, Call, Record
from fw_policies.model import Plan, Target

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)


class ByKey:
    """Fragments of what takes few values, by those values; forgotten all at once when they turn out to be many."""

    __slots__ = ("_kept", "_limit")

    def __init__(self, limit: int = 1024) -> None:
        """At most `limit` fragments are remembered."""
        self._limit = limit
        self._kept: dict[tuple[object, ...], Fragment] = {}

    def get(self, key: tuple[object, ...]) -> Fragment | None:
        """What was remembered."""
        return self._kept.get(key)

    def put(self, key: tuple[object, ...], mapping: Mapping[str, Value]) -> Fragment:
        """Encode and remember."""
        if len(self._kept) >= self._limit:
            self._kept.clear()
        made = self._kept[key] = Fragment(mapping)
        return made


class Make(Protocol[Made_co]):
    """What makes something of a span's fields: `Span` itself, or `otlp.written`, its text."""

    def __call__(  # noqa: PLR0913, PLR0917 - the fields of a `Span`
        self,
        trace_id: str,
        span_id: str,
        parent_id: str,
        name: str,
        kind: int,
        start: int,
        end: int,
        own: dict[str, Value],
        shared: tuple[Fragment, ...],
        links: tuple[Link, ...],
        state: str,
        remote: bool,
        error: str | None,
        flags: int,
    ) -> Made_co:
        """Make it."""
        ...


@dataclass(slots=True)
class Rendered(Generic[Made]):
    """The spans of a call, and what its events need of them."""

    make: Make[Made]
    """What makes the spans."""
    spans: list[Made]
    route_id: str
    """Empty when nothing was planned."""
    call: tuple[Fragment, ...]
    """`call_attributes`, encoded: they stand on the SERVER span and in the outcome event."""
    who: Fragment


class Renderer:
    """Makes the spans of a record; remembers what plans, targets and callers look like."""

    def __init__(self, *, providers: Mapping[str, str], version: str, prices: str = "") -> None:
        """`providers`: our name of a provider -> `gen_ai.provider.name`; `prices`: version of the price table."""
        self._prices = prices
        self._providers = providers
        self._routes = Lasting[Plan, Fragment](
            lambda plan: Fragment(attributes.route_attributes(plan, version=version))
        )
        self._estimates = Lasting[Plan, Fragment](lambda plan: Fragment(attributes.estimated(plan)))
        self._targets = {
            operation: Lasting[Target, Fragment](self._target_maker(operation)) for operation in attributes.OPERATIONS
        }
        self._http = ByKey()
        self._who = ByKey()
        self._outcomes = ByKey()

    def _target_maker(self, operation: str) -> Callable[[Target], Fragment]:
        return lambda target: Fragment(
            attributes.target_attributes(
                target, operation, provider=self._providers.get(target.provider, target.provider)
            )
        )

    def render(self, record: Record) -> Rendered[Span]:
        """All spans of a call. An in-process call has no SERVER span: its parent is the caller's own chat span."""
        return self.made(record, Span)

    def made(self, record: Record, make: Make[Made]) -> Rendered[Made]:
        """The same, each span as whatever `make` makes of it."""
        call, plan = record.call, record.plan
        key = (call.identity.agent, call.identity.thread)
        who = self._who.get(key) or self._who.put(key, attributes.identity(call))
        rolled: tuple[Fragment, ...] = (Fragment(attributes.rollup(record)),)
        if plan is not None:
            rolled = (*rolled, self._estimates[plan])
        last = ending(record)
        found: Rendered[Made] = Rendered(make, [], "", rolled, who)
        if not call.embedded:
            found.spans.append(self._server(record, found, last))
        if plan is not None and call.shadow is None:
            found.route_id = clock.span_id()
            found.spans.append(self._route(record, plan, found, last))
        if record.attempts:
            asked = attributes.request_attributes(call)
            for attempt in record.attempts:
                found.spans.append(self._attempt(attempt, record, asked, found))
        return found

    def _server(self, record: Record, found: Rendered[Made], last: int) -> Made:
        call = record.call
        trace = call.trace
        error = attributes.error_type(record.error_type)
        key = (call.route, call.scheme, call.server, call.user_agent, record.status, error)
        http = self._http.get(key) or self._http.put(key, attributes.server_attributes(call, record.status, error))
        return found.make(
            trace.trace_id,
            call.span_id,
            trace.parent_id,
            f"POST {call.route}",
            SERVER,
            call.started_ns,
            last,
            {},
            (http, found.who, *found.call),
            (),
            trace.state,
            bool(trace.parent_id),
            f"HTTP {record.status}" if record.status >= 500 else None,
            trace.flags,
        )

    def _route(self, record: Record, plan: Plan, found: Rendered[Made], last: int) -> Made:
        call = record.call
        trace = call.trace
        start, end = planned(record, last)
        return found.make(
            trace.trace_id,
            found.route_id,
            call.span_id,
            f"route {plan.policy or plan.reason}",
            INTERNAL,
            start,
            end,
            {"fw.decision.id": call.decision_id},
            (self._routes[plan], found.who),
            (),
            trace.state,
            False,
            None,
            trace.flags,
        )

    def _attempt(self, attempt: Attempt, record: Record, asked: Mapping[str, Value], found: Rendered[Made]) -> Made:
        call, target = record.call, attempt.target
        trace = call.trace
        own = attributes.attempt_attributes(attempt, stream=call.stream)
        own.update(asked)
        start, end = tried(record, attempt)
        return found.make(
            trace.trace_id,
            attempt.span_id,
            call.span_id if call.shadow is None else "",
            f"{call.operation} {attributes.short(target.upstream_model)}",
            CLIENT,
            start,
            end,
            own,
            (self._targets[call.operation][target], self._outcome(attempt), found.who),
            _links(attempt, record.attempts, found.route_id)
            if call.shadow is None
            else (Link(call.shadow.span_id, "shadow_of", call.shadow.trace_id),),
            trace.state,
            False,
            describe(attempt) if attempt.error_type else None,
            trace.flags,
        )

    def _outcome(self, attempt: Attempt) -> Fragment:
        key = (
            attempt.number,
            attempt.reason,
            attempt.outcome,
            attempt.error_type,
            attempt.trigger,
            attempt.server,
            attributes.short(attempt.response_model),
            attempt.finish_reasons,
            attempt.cost is None,
            attempt.cost_source,
        )
        return self._outcomes.get(key) or self._outcomes.put(
            key, attributes.attempt_outcome(attempt, prices=self._prices)
        )


def describe(attempt: Attempt) -> str:
    """A failed attempt in one safe sentence: providers echo prompts in their errors, so none of their words are in it."""
    said = attributes.error_type(attempt.error_type)
    status = f" (HTTP {attempt.status})" if attempt.status and str(attempt.status) != said else ""
    return f"{attempt.target.deployment}: {said}{status}"


def at(call: Call, moment: float) -> int:
    """A monotonic moment as nanoseconds since the epoch, counted from the call's own beginning: a clock that is set cannot disorder spans."""
    passed = round((moment - call.started) * 1e9)
    return call.started_ns + passed if passed > 0 else call.started_ns


def ending(record: Record) -> int:
    """When a call was over, its last attempt included."""
    last = record.ended
    for attempt in record.attempts:
        if attempt.ended is not None and attempt.ended > last:
            last = attempt.ended
    return at(record.call, last)


def planned(record: Record, last: int) -> tuple[int, int]:
    """When planning began and ended; no later than the call, which ended at `last`."""
    began = record.call.started_ns
    start = record.routed_ns if record.routed_ns > began else began
    if start > last:
        return last, last
    end = start + int(record.routing * 1e9)
    return start, end if end < last else last


def tried(record: Record, attempt: Attempt) -> tuple[int, int]:
    """When an attempt began and ended; one that was given up ends with its call."""
    start = at(record.call, attempt.started)
    end = at(record.call, attempt.ended if attempt.ended is not None else max(record.ended, attempt.started))
    return start, end if end > start else start


def _links(attempt: Attempt, attempts: list[Attempt], route_id: str) -> tuple[Link, ...]:
    links = (Link(route_id, "decided_by"),) if route_id else ()
    if attempt.number > 1 and attempt.reason in ("retry", "fallback", "hedge", "cascade"):
        number = attempt.follows if attempt.follows is not None else attempt.number - 1
        followed = next((other for other in attempts if other.number == number), None)
        if followed is not None and followed is not attempt:
            return (*links, Link(followed.span_id, f"{attempt.reason}_of"))
    return links
