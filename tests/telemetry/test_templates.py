"""What a template says of a call is what the renderer says of it, whatever calls came before."""

import json
from dataclasses import astuple, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_gateway import clock
from fw_gateway.telemetry.otlp import written
from fw_gateway.telemetry.spans import Renderer
from fw_gateway.telemetry.templates import Templates
from fw_gateway.values import Attempt, Identity, Record, Trace, Usage
from tests.telemetry import samples

ODD = 'a "quoted" %s name, 100 % {odd} \\ with\nlines and ü\ud83d'
NUMBERS = st.one_of(st.none(), st.integers(-2, 1 << 60))
SECONDS = st.one_of(st.none(), st.floats(0, 1e6))


def renderer() -> Renderer:
    return Renderer(providers={"vllm": "vllm", "openai": "openai", "xai": "x_ai"}, version="0.1.0", prices="2026-11-20")


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """What may become of a try."""

    def few(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    moment = st.floats(-5, 1e4)
    return samples.attempt(
        few(1, 1, 2),
        few(samples.GPT, samples.QWEN),
        reason=few("initial", "retry", "hedge"),
        started=100 + draw(moment),
        ended=few(None, 100 + draw(moment), 100 + draw(moment)),
        outcome=few("success", "error", "cancelled", None),
        error_type=few("", "", "429", "timeout", "strange"),
        status=few(None, 200, 429),
        trigger=few("", "429"),
        backoff=few(0.0, 0.0, 0.5),
        ttft=draw(SECONDS),
        first_content=draw(SECONDS),
        chunks=few(0, 3, 64),
        max_gap=few(0.0, draw(st.floats(0, 10))),
        stream_outcome=few("", "completed", "client_disconnected"),
        usage=few(None, Usage(0, 0), Usage(*(draw(NUMBERS) for _ in range(5)))),
        cost=few(None, 0, draw(st.integers(0, 1 << 40))),
        cost_source=few("local", "provider"),
        response_id=few("", "chatcmpl-1", ODD, "r" * 300),
        response_model=few("", "gpt-5-mini", ODD, "q" * 300),
        finish_reasons=few((), ("stop",), (ODD, "length")),
        server=few(("", 0), ("10.0.0.1", 8000)),
        resends=few(0, 0, 1),
        protocol=few("", "anthropic_messages"),
        lost=few((), (), ("seed",)),
        check=few("", "", "json"),
        accepted=few(None, None, True, False),
    )


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Calls of two plans whose every part has a few values, so that some look alike and no two are equal."""

    def few(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    stream, moment = draw(st.booleans()), st.floats(-5, 1e4)
    call = samples.call(
        stream=stream,
        embedded=few(False, False, True),
        operation=few("chat", "embeddings"),
        route=few("/v1/chat/completions", "/v1/embeddings"),
        model=few("auto", ODD, "m" * 300),
        fields=few({}, {"temperature": 1}, {"temperature": True}, {"temperature": 1.0, "seed": 7, "n": 2}),
        identity=Identity(few("", "bugbot", ODD), few("", "edit"), few("", "run-7", ODD), few("", "conv_1", ODD)),
        trace=Trace(clock.trace_id(), few("", "1" * 16), few(0, 1, 3), few("", "fw=1", 'ot="%s"')),
        scheme=few("http", "https"),
        server=few(("", 0), ("127.0.0.1", 8400)),
        user_agent=few("", "openai-python/3", ODD),
        key_id=few("", "key_1"),
        started_ns=draw(st.integers(1 << 60, 1 << 62)),
    )
    attempt = draw(attempts())
    error = few("", "", "502", "strange")
    return Record(
        call,
        few(samples.PLAN, samples.PLAN, samples.PINNED),
        routed_ns=call.started_ns + draw(st.integers(-1000, 1 << 34)),
        routing=draw(st.floats(0, 10)),
        attempts=[attempt],
        status=few(200, 502, 0),
        ended=100 + draw(moment),
        outcome=few("direct", "failed"),
        error_type=error,
        served=few(attempt, attempt, None),
        accepted=few(None, None, 100 + draw(moment)),
    )


def spans(text: str) -> list[dict[str, Any]]:
    """Spans with their attributes by name: no reader cares for their order, and none may be said twice."""
    found: list[dict[str, Any]] = json.loads(f"[{text}]")
    for span in found:
        named = {one["key"]: one["value"] for one in span["attributes"]}
        assert len(named) == len(span["attributes"])
        span["attributes"] = named
    return found


@pytest.fixture(autouse=True)
def _same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Route spans are named when they are made; here all alike."""
    made = iter(range(1 << 40))
    monkeypatch.setattr(clock, "trace_id", lambda: f"{next(made):032x}")
    monkeypatch.setattr(clock, "span_id", lambda: "5" * 16)


def twin(first: Record, other: Record) -> Record:
    """A call that looks like `first`, and has no number and no id in common with it."""
    call, old = first.call, first.attempts[0]
    trace, who, usage = call.trace, call.identity, old.usage
    attempt = replace(
        old,
        span_id="9" * 16,
        ttft=old.ttft and old.ttft + 0.5,
        first_content=old.first_content and old.first_content + 0.25,
        chunks=old.chunks and old.chunks + 1,
        max_gap=old.max_gap and old.max_gap + 0.125,
        usage=usage and Usage(*(each and each - 1 for each in astuple(usage))),
        cost=old.cost and old.cost + 1,
        response_id=old.response_id and "chatcmpl-2",
    )
    return replace(
        first,
        call=replace(
            call,
            decision_id=other.call.decision_id,
            span_id="7" * 16,
            trace=trace._replace(
                trace_id="8" * 32, parent_id=trace.parent_id and "2" * 16, state=trace.state and "fw=2"
            ),
            identity=who._replace(run=who.run and "run-8", thread=who.thread and "conv_2"),
            started_ns=other.call.started_ns,
        ),
        attempts=[attempt],
        served=first.served and attempt,
        routed_ns=other.call.started_ns + 5,
        routing=other.routing,
        ended=other.ended,
        accepted=first.accepted and first.accepted + 1,
    )


_RENDERER = renderer()
_TEMPLATES = Templates(_RENDERER)


@given(records(), records())
@settings(deadline=None, max_examples=400)
def test_a_template_says_what_the_renderer_says(first: Record, other: Record) -> None:
    """A template is made by one call and used for another: the second has all of its own and nothing of the first's."""
    alike = twin(first, other)
    for record in (first, other, alike, first, other, alike):
        text = _TEMPLATES.written(record)
        if text is not None:
            assert spans(text) == spans(",".join(_RENDERER.made(record, written).spans))


@pytest.mark.parametrize("kind", ["plain", "streamed", "disconnected", "pinned", "embeddings"])
def test_the_second_call_of_a_look_is_written_by_template(kind: str) -> None:
    """What most calls are takes the short way, or all of this were for nothing."""
    templates = Templates(renderer())
    first, second, third = (samples.ALL[kind]() for _ in range(3))
    assert templates.written(first) is None
    for record in (second, third):
        text = templates.written(record)
        assert text is not None
        assert spans(text) == spans(",".join(renderer().made(record, written).spans))
        assert record.call.decision_id in text


@pytest.mark.parametrize("kind", ["fallback", "exhausted", "refused", "no_candidate"])
def test_what_is_rare_is_left_to_the_renderer(kind: str) -> None:
    """Several attempts, or none, are never written by template."""
    templates = Templates(renderer())
    assert [templates.written(samples.ALL[kind]()) for _ in range(3)] == [None, None, None]


def test_looks_are_forgotten_with_their_plan_and_when_they_are_many() -> None:
    """A thousand names of clients keep no more than a bounded number of templates."""
    templates = Templates(renderer())
    plan = replace(samples.PLAN)
    for number in range(1000):
        asked = samples.call(user_agent=f"agent/{number}")
        templates.written(samples.record(asked, [samples.attempt()], plan=plan))
    assert 0 < len(templates._plans[plan]) <= 256
    assert len(templates._plans) == 1
    del plan
    assert len(templates._plans) == 0


def test_parameters_are_told_apart_by_their_kind() -> None:
    """True is no temperature though it equals 1, and a schema of a megabyte is not remembered."""
    templates = Templates(renderer())
    plain, true, one, schema = (samples.plain() for _ in range(4))
    true.call.fields, one.call.fields = {"temperature": True}, {"temperature": 1}
    schema.call.fields = {"response_format": {"type": "json_schema", "json_schema": "x" * 1_000_000}}
    for record in (plain, true, one, schema):
        templates.written(record)
        text = templates.written(record)
        assert text is not None
        assert ("request.temperature" in text) is (record in (plain, one))
    assert all(len(fields) < 1000 for _, fields in templates._asked)
