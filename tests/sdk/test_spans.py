"""The caller's three spans: what they carry, what they never carry, and what travels with a call."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan

import fwsdk
from fwsdk import Client, adapters
from fwsdk.testing import FakeTransport, ManualClock, completion, error, reply, stream

Spans = Callable[[], dict[str, ReadableSpan]]
ANSWER = {"x-fw-cost": "0.25", "x-fw-decision-id": "d1"}


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def test_a_run_is_one_tree(spans: Spans) -> None:
    """invoke_agent, step, chat: parents, kinds, attributes, scope."""
    with (
        Client(transport=FakeTransport(completion("1", headers=ANSWER))) as fw,
        fw.run("coding", budget="2 USD", thread="t1", id="r1") as run,
        run.step("plan", attempt=2),
    ):
        fw.chat("secret words", model="auto", max_tokens=5, temperature=0)
    found = spans()
    agent, step, chat = found["invoke_agent coding"], found["step plan"], found["chat auto"]
    assert agent.parent is None
    assert step.parent == agent.context
    assert chat.parent == step.context
    assert [one.kind.name for one in (agent, step, chat)] == ["INTERNAL", "INTERNAL", "CLIENT"]
    both = {"gen_ai.agent.name": "coding", "gen_ai.conversation.id": "t1", "fw.run.id": "r1"}
    assert attributes(agent) == both | {
        "gen_ai.operation.name": "invoke_agent",
        "openinference.span.kind": "AGENT",
        "fw.run.budget.cost": 2.0,
        "fw.run.actual.cost": 0.25,
        "fw.run.step.count": 1,
    }
    assert attributes(step) == both | {
        "fw.step.name": "plan",
        "fw.step.index": 1,
        "fw.step.attempt": 2,
        "fw.step.outcome": "success",
        "openinference.span.kind": "CHAIN",
    }
    assert attributes(chat) == both | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fw",
        "gen_ai.request.model": "auto",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.response.model": "fake",
        "gen_ai.response.id": "chatcmpl-fake",
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "127.0.0.1",
        "server.port": 8400,
        "fw.decision.id": "d1",
        "openinference.span.kind": "LLM",
    }
    for span in (agent, step, chat):
        assert span.status.status_code.name == "UNSET"
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.name == "fw.sdk"
        assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.41.1"
        assert "secret" not in span.to_json()


def test_a_stream_tells_when_its_first_chunk_came(spans: Spans) -> None:
    """Its span ends with the stream; a conversation is not invented."""
    with Client(transport=FakeTransport(stream("a", receipt={"cost": "0.5"}))) as fw, fw.run("coding"):
        answer = fw.stream("hi")
        next(answer)
        assert "chat auto" not in spans()
        list(answer)
    chat = attributes(spans()["chat auto"])
    assert chat["gen_ai.request.stream"] is True
    assert chat["gen_ai.response.time_to_first_chunk"] > 0
    assert "gen_ai.conversation.id" not in chat
    assert attributes(spans()["invoke_agent coding"])["fw.run.actual.cost"] == 0.5


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (error(429), "429"),
        (error(402, code="budget_exceeded"), "budget_exceeded"),
        (error(503, code="no_candidate"), "no_candidate"),
        (error(504), "timeout"),
        (fwsdk.ConnectionFailed("no"), "connection_error"),
        (reply([]), "invalid_response"),
    ],
)
def test_a_failure_has_one_name_on_every_span_it_passes(spans: Spans, fault: Any, kind: str) -> None:
    """ERROR with error.type and no description; the step it went through failed too."""
    with (
        Client(transport=FakeTransport(fault), max_retries=0) as fw,
        pytest.raises(fwsdk.FwError),
        fw.run("coding") as run,
        run.step("plan"),
    ):
        fw.chat("hi")
    for span in spans().values():
        assert attributes(span)["error.type"] == kind
        assert span.status.status_code.name == "ERROR"
        assert span.status.description is None
        assert not span.events
    assert attributes(spans()["step plan"])["fw.step.outcome"] == "error"


def test_a_failure_that_was_handled_marks_no_parent(spans: Spans) -> None:
    """A retried call succeeded; a caught error is the call's own; a costless refusal leaves the cost known."""
    transport = FakeTransport(error(503), completion("1", headers=ANSWER), error(400))
    with Client(transport=transport, clock=ManualClock()) as fw, fw.run("coding") as run:
        fw.chat("hi")
        assert spans()["chat auto"].status.status_code.name == "UNSET"
        with pytest.raises(fwsdk.BadRequest):
            fw.chat("hi", model="other")
    assert spans()["chat other"].status.status_code.name == "ERROR"
    assert spans()["invoke_agent coding"].status.status_code.name == "UNSET"
    assert run.cost.usd is not None


def test_the_trace_and_the_allowed_baggage_travel(spans: Spans) -> None:
    """The parent in traceparent is the chat span; what the program put in baggage for others stays home."""
    transport = FakeTransport(completion("1"))
    token = context.attach(baggage.set_baggage("user.email", "a@b", baggage.set_baggage("fw.experiment.variant", "b")))
    try:
        with Client(transport=transport) as fw, fw.run("coding", id="r1") as run, run.step("plan, then do"):
            fw.chat("hi")
    finally:
        context.detach(token)
    sent = transport.requests[0].headers
    chat = spans()["chat auto"].context
    assert chat is not None
    version, trace_id, parent, flags = sent["traceparent"].split("-")
    assert (version, int(trace_id, 16), int(parent, 16)) == ("00", chat.trace_id, chat.span_id)
    assert int(flags, 16) & 1
    assert sent["baggage"] == (
        "gen_ai.agent.name=coding,fw.run.id=r1,fw.step.name=plan%2C%20then%20do,fw.step.index=1,fw.experiment.variant=b"
    )


def test_what_an_engine_in_this_process_reports_stands_on_the_call(spans: Spans) -> None:
    """There is no gateway span to carry it."""
    played = replace(completion("1"), attributes={"fw.call.outcome": "direct", "fw.call.attempt.count": 1})
    with Client(transport=FakeTransport(played)) as fw:
        fw.chat("hi")
    assert attributes(spans()["chat auto"])["fw.call.outcome"] == "direct"


def test_an_adapter_opens_spans_from_callbacks(spans: Spans) -> None:
    """Started and ended explicitly, with explicit parents; nothing becomes current."""
    run = adapters.agent_span("bugbot", run="r9", thread="t")
    step = adapters.step_span("triage", index=4, attempt=2, path="a|b", task="t-1", parent=run)
    call = adapters.call_span("auto", stream=True, parent=step)
    assert adapters.current() == adapters.Scope()
    assert trace.get_current_span() is trace.INVALID_SPAN
    wanted = {"x-fw-agent": "bugbot", "x-fw-run": "r9", "x-fw-step": "triage", "x-fw-attempt": "2", "x-fw-task": "t-1"}
    assert wanted.items() <= call.headers.items()
    call.first_chunk()
    call.response({"X-Fw-Cost": "0.5"})
    call.finish("m", finish_reasons=["stop"])
    call.fail(RuntimeError())
    step.end(outcome="skipped")
    run.end()
    run.end(RuntimeError())
    found = spans()
    assert found["chat auto"].parent == found["step triage"].context
    assert found["step triage"].parent == found["invoke_agent bugbot"].context
    assert attributes(found["step triage"])["fw.step.outcome"] == "skipped"
    assert attributes(found["invoke_agent bugbot"])["fw.run.actual.cost"] == 0.5
    assert {span.status.status_code.name for span in found.values()} == {"UNSET"}


def test_what_cannot_travel_as_a_header_is_refused_early() -> None:
    """No line break ever reaches a header."""
    with pytest.raises(ValueError, match="header"):
        adapters.Scope(agent="a\r\nx-admin: 1")
    with pytest.raises(ValueError, match="label"):
        adapters.Scope(labels={"a": "1,b=2"})
    assert adapters.Scope(labels={"a": "1", "b": "2"}).headers() == {"x-fw-labels": "a=1,b=2"}


def test_without_a_provider_nothing_is_recorded_and_nothing_breaks() -> None:
    """No FW_TRACES_FILE, no OTEL_*: the API alone."""
    transport = FakeTransport(completion("1"))
    with Client(transport=transport) as fw, fw.run("coding"):
        fw.chat("hi")
    assert "traceparent" not in transport.requests[0].headers


def test_fw_traces_file_alone_is_enough_to_get_a_trace(tmp_path: Path) -> None:
    """The provider that comes with the gateway is found, and writes when the process ends."""
    script = """
from fwsdk import Client
from fwsdk.testing import FakeTransport, completion
with Client(transport=FakeTransport(completion("1"))) as fw, fw.run("coding") as run, run.step("plan"):
    fw.chat("hi")
"""
    file = tmp_path / "traces.jsonl"
    subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, env={"FW_TRACES_FILE": str(file), "PATH": "/usr/bin"}
    )
    names = {
        span["name"]
        for line in file.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }
    assert names == {"invoke_agent coding", "step plan", "chat auto"}
