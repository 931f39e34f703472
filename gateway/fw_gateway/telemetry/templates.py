"""Calls that look alike, as text: one template for each look of a plan's calls, filled in at once.

Nearly all calls are one attempt at a target of a plan that they share with thousands. They differ in ids, times, tokens and money;
the rest of their spans is made once, by the very functions that make all others, with holes where those stand.
"""

import re
import secrets
from dataclasses import replace
from operator import itemgetter
from typing import Any

import orjson

from fw_gateway import clock
from fw_gateway.lasting import Lasting
from fw_gateway.telemetry import attributes, otlp, spans
from fw_gateway.telemetry.otlp import CLIENT, INTERNAL, SERVER, Fragment, Span, quote
from fw_gateway.values import Attempt, Call, Record
from fw_policies.model import NANO_USD, Plan

_LOOKS = 256
"""Looks that are remembered of one plan."""

_LONGEST = 512
"""Bytes of request parameters that are remembered; longer ones hold a schema."""

_MANY = 1024
"""Sets of request parameters that are remembered."""

_HOLE = secrets.token_hex(16)
"""With two digits behind it, a hole, while a template is made: nobody can write it into a name."""

_TRACE, _SPAN, _PARENT, _STATE, _ROUTE, _ATTEMPT, _DECISION, _RUN, _THREAD, _RESPONSE, _ASKED = range(11)
_TIMES = {SERVER: (11, 12), INTERNAL: (13, 14), CLIENT: (15, 16)}
_DOUBLES = {
    "fw.call.actual.duration": 17,
    "fw.call.overhead.duration": 18,
    "fw.call.actual.cost": 19,
    "fw.cost.amount": 19,
    "fw.call.actual.time_to_first_chunk": 20,
    "gen_ai.response.time_to_first_chunk": 21,
    "fw.stream.time_to_first_content": 22,
    "fw.stream.max_chunk_gap": 23,
}
_WHOLES = {
    "fw.stream.chunk.count": 24,
    "gen_ai.usage.input_tokens": 25,
    "gen_ai.usage.cache_read.input_tokens": 26,
    "gen_ai.usage.cache_creation.input_tokens": 27,
    "gen_ai.usage.output_tokens": 28,
    "fw.call.actual.output_tokens": 28,
    "gen_ai.usage.reasoning.output_tokens": 29,
}
"""Places of what differs, in the list that `Templates.written` makes."""

_UNSTREAMED = (None,) * 4
_UNUSED = (None,) * 5


class _Template:
    """Text with holes, and what fills them."""

    __slots__ = ("_pick", "_text")

    def __init__(self, text: str) -> None:
        parts: list[str] = re.split(rf"{_HOLE}(\d\d)", text)
        self._text = parts
        self._pick: Any = itemgetter(*map(int, parts[1::2]))

    def filled(self, values: list[str]) -> str:
        """The text with each of `values` in its places."""
        parts = self._text.copy()
        parts[1::2] = self._pick(values)
        return "".join(parts)


class Templates:
    """What the calls of each plan look like, for as long as the plan lives."""

    def __init__(self, renderer: spans.Renderer) -> None:
        """`renderer` makes what templates are made of."""
        self._renderer = renderer
        self._plans = Lasting[Plan, dict[tuple[object, ...], _Template | None]](lambda _: {})
        self._asked: dict[tuple[bool, bytes], str] = {}

    def written(self, record: Record) -> str | None:
        """The spans of a call as OTLP/JSON, joined by commas; None when it looks like no other, or is the first that looks so."""
        plan, attempts = record.plan, record.attempts
        if plan is None or len(attempts) != 1:
            return None
        call, attempt = record.call, attempts[0]
        if call.shadow is not None or attempt.ended is None or _odd(attempt):
            return None
        measured = _measured(record, call, attempt)
        key = _look(record, call, attempt, measured)
        looks = self._plans[plan]
        template = looks.get(key, key)
        if template is key:
            if len(looks) >= _LOOKS:
                looks.clear()
            looks[key] = None  # a second one has to come before a template is worth its making
            return None
        if not isinstance(template, _Template):
            template = looks[key] = _Template(self._text(record, call, attempt))
        last = spans.ending(record)
        numbers = (call.started_ns, last, *spans.planned(record, last), *spans.tried(record, attempt), *measured)
        trace, identity = call.trace, call.identity
        return template.filled(
            [
                trace.trace_id,
                call.span_id,
                trace.parent_id,
                trace.state and _inner(trace.state),
                clock.span_id(),
                attempt.span_id,
                call.decision_id,
                identity.run and _inner(identity.run),
                identity.thread and _inner(identity.thread),
                attempt.response_id and _inner(attributes.short(attempt.response_id)),
                self._parameters(call),
                *orjson.dumps(numbers)[1:-1].decode().split(","),
            ]
        )

    def _parameters(self, call: Call) -> str:
        """The request's parameters, encoded, with a comma before them; most calls send the same."""
        try:
            fields = orjson.dumps(call.fields)
        except TypeError:  # a call in process may hold anything
            fields = b""
        found = self._asked.get((call.stream, fields))
        if found is None:
            text = otlp.attributes(attributes.request_attributes(call))
            found = f",{text}" if text else ""
            if 0 < len(fields) <= _LONGEST:
                if len(self._asked) >= _MANY:
                    self._asked.clear()
                self._asked[call.stream, fields] = found
        return found

    def _text(self, record: Record, call: Call, attempt: Attempt) -> str:
        """The spans of a call like this one, with holes."""
        trace, identity = call.trace, call.identity
        holed = replace(
            call,
            fields={},
            decision_id=_hole(_DECISION),
            span_id=_hole(_SPAN),
            trace=trace._replace(
                trace_id=_hole(_TRACE),
                parent_id=trace.parent_id and _hole(_PARENT),
                state=trace.state and _hole(_STATE),
            ),
            identity=identity._replace(run=identity.run and _hole(_RUN), thread=identity.thread and _hole(_THREAD)),
        )
        tried = replace(attempt, span_id=_hole(_ATTEMPT), response_id=attempt.response_id and _hole(_RESPONSE))
        served = tried if record.served is attempt else record.served
        made = self._renderer.render(replace(record, call=holed, attempts=[tried], served=served))
        return ",".join([_written(span) for span in made.spans]).replace(made.route_id, _hole(_ROUTE))


def _hole(place: int) -> str:
    return f"{_HOLE}{place:02}"


def _inner(text: str) -> str:
    """`text` as it stands between the quotation marks of a JSON string."""
    return quote(text)[1:-1]


def _odd(attempt: Attempt) -> bool:
    """Whether an attempt has anything that few have."""
    return bool(attempt.backoff or attempt.lost or attempt.resends or attempt.check) or attempt.accepted is not None


def _look(record: Record, call: Call, attempt: Attempt, measured: tuple[float | None, ...]) -> tuple[object, ...]:
    """All that spans say of a call and that calls share, save what is known of its plan; of what was measured, whether it was."""
    identity, trace, target = call.identity, call.trace, attempt.target
    return (
        target.deployment,
        target.model,
        target.upstream_model,
        call.embedded,
        call.operation,
        call.route,
        call.scheme,
        call.server,
        call.user_agent,
        call.key_id,
        attributes.short(call.model),
        call.stream,
        identity.agent,
        identity.step,
        not identity.run,
        not identity.thread,
        not trace.parent_id,
        not trace.state,
        trace.flags,
        record.status,
        record.outcome,
        record.error_type,
        record.served is None,
        attempt.number,
        attempt.reason,
        attempt.outcome,
        attempt.error_type,
        attempt.status,
        attempt.trigger,
        attempt.server,
        attempt.protocol,
        attempt.stream_outcome,
        attempt.cost_source,
        attempt.finish_reasons,
        attributes.short(attempt.response_model),
        not attempt.response_id,
        *map(type, measured),
    )


def _measured(record: Record, call: Call, attempt: Attempt) -> tuple[float | None, ...]:
    """The numbers of a call from `_DOUBLES` and `_WHOLES`, in their order; None: not said."""
    cost, usage, streamed = attempt.cost, attempt.usage, call.stream
    return (
        attributes.duration(record),
        attributes.overhead(record),
        None if cost is None else cost / NANO_USD,
        attributes.first_chunk(record),
        *(
            (attempt.ttft, attempt.first_content, attempt.max_gap or None, attempt.chunks or None)
            if streamed
            else _UNSTREAMED
        ),
        *(_UNUSED if usage is None else attributes.tokens(usage, failed=bool(attempt.error_type))),
    )


def _written(span: Span) -> str:
    """A span with holes for its times and for all that is measured."""
    start, end = map(_hole, _TIMES[span.kind])
    said = span.attributes
    said.pop("gen_ai.request.stream", None)  # one of the parameters, which are filled in together
    own = Fragment({name: value for name, value in said.items() if name not in _DOUBLES and name not in _WHOLES})
    own.text += "".join(
        [
            f',{{"key":"{name}","value":{{"doubleValue":{_hole(_DOUBLES[name])}}}}}'
            if name in _DOUBLES
            else f',{{"key":"{name}","value":{{"intValue":"{_hole(_WHOLES[name])}"}}}}'
            for name in said
            if name not in own.mapping
        ]
    )
    if span.kind == CLIENT:
        own.text += _hole(_ASKED)
    return otlp.written(
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.name,
        span.kind,
        start,  # type: ignore[arg-type]  # text in the place of a number
        end,  # type: ignore[arg-type]
        {},
        (own,),
        span.links,
        span.state,
        span.remote,
        span.error,
        span.flags,
    )
