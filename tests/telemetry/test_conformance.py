"""The traces we write obey the contract, and the check of it sees every violation it should."""

import importlib.util
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fw_gateway.telemetry import Recorder, reader
from fw_gateway.telemetry.reader import SpanRow
from fw_gateway.values import Record
from tests.telemetry import conformance, samples

CHECKER = Path(__file__).parents[3] / "shared" / "tools" / "trace_conformance.py"


def written(record: Record, folder: Path) -> list[SpanRow]:
    """The spans of one record, as a reader finds them in the file; an in-process call gets the caller's chat span above it."""
    recorder = Recorder(samples.config(str(folder)), environ={})
    recorder.put(record)
    assert recorder.flush()
    spans = reader.read(folder / "traces.jsonl")
    if record.call.embedded and record.call.shadow is None:
        spans.append(chat_span(record, spans))
    return spans


def chat_span(record: Record, spans: list[SpanRow]) -> SpanRow:
    from fw_gateway.telemetry import call_attributes  # noqa: PLC0415

    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fw",
        "gen_ai.request.model": "auto",
        "openinference.span.kind": "LLM",
    }
    return SpanRow(
        trace_id=record.call.trace.trace_id,
        span_id=record.call.span_id,
        parent_id="",
        name="chat auto",
        kind="CLIENT",
        status="UNSET",
        message="",
        start=min(span.start for span in spans),
        end=max(span.end for span in spans),
        attributes={**asked, **call_attributes(record)},
        links=[],
        scope="fw.sdk",
        schema_url="https://opentelemetry.io/schemas/1.41.1",
        resource={},
    )


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    if not CHECKER.exists():
        pytest.skip(
            "the independent checker is not beside this checkout; the project's own copy of the rules is tested anyway"
        )
    spec = importlib.util.spec_from_file_location("trace_conformance", CHECKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_theirs(spans: list[SpanRow]) -> list[dict[str, Any]]:
    names = (
        "trace_id",
        "span_id",
        "name",
        "kind",
        "status",
        "attributes",
        "start",
        "end",
        "schema_url",
        "scope",
        "links",
    )
    return [{**{name: getattr(span, name) for name in names}, "parent_id": span.parent_id or None} for span in spans]


@pytest.mark.parametrize("kind", samples.ALL)
def test_every_kind_of_call_is_written_without_a_violation(kind: str, tmp_path: Path) -> None:
    """Plain, streamed, fallen back, left by its client, exhausted, in process, refused, pinned: no rule is broken."""
    assert conformance.check(written(samples.ALL[kind](), tmp_path)) == []


def test_a_shadow_is_written_without_a_violation(tmp_path: Path, theirs: ModuleType) -> None:
    """A root of its own with a link: neither checker finds anything."""
    found = written(samples.shadow(), tmp_path)
    assert conformance.check(found) == []
    assert theirs.check(as_theirs(found)) == []


@pytest.mark.parametrize("kind", samples.ALL)
def test_the_independent_checker_agrees_that_nothing_is_wrong(kind: str, tmp_path: Path, theirs: ModuleType) -> None:
    """Rules read from the same contract by somebody else find nothing either."""
    assert theirs.check(as_theirs(written(samples.ALL[kind](), tmp_path))) == []


def first(spans: list[SpanRow], name: str) -> SpanRow:
    return next(span for span in spans if span.name.startswith(name))


def setting(name: str, key: str, value: Any) -> Callable[[list[SpanRow]], None]:
    def plant(spans: list[SpanRow]) -> None:
        span = first(spans, name)
        if value is None:
            span.attributes.pop(key, None)
        else:
            span.attributes[key] = value

    return plant


def changing(which: str, /, **changes: Any) -> Callable[[list[SpanRow]], None]:
    def plant(spans: list[SpanRow]) -> None:
        for key, value in changes.items():
            setattr(first(spans, which), key, value)

    return plant


def both_succeed(spans: list[SpanRow]) -> None:
    for span in spans:
        if "fw.attempt.number" in span.attributes:
            span.attributes["fw.attempt.outcome"] = "success"


def second_route(spans: list[SpanRow]) -> None:
    twin = deepcopy(first(spans, "route"))
    twin.span_id = "f" * 16
    spans.append(twin)


SECOND = "chat Qwen"
PLANTED: dict[str, list[Callable[[list[SpanRow]], None]]] = {
    "A1": [setting("chat", "gen_ai.provider.name", None)],
    "A2": [setting("chat", "gen_ai.operation.name", "talk")],
    "A3": [setting("chat", "gen_ai.request.max_tokens", "many")],
    "A4": [setting("POST", "http.status_code", 200), setting("chat", "gen_ai.system", "openai")],
    "A5": [setting("chat", "gen_ai.gateway.name", "fw")],
    "A6": [setting("route", "fw.Route-Name", "x")],
    "S1": [changing("chat", kind="INTERNAL")],
    "S2": [changing("chat", name="chat something else")],
    "S4": [changing("route", end=0)],
    "S5": [changing("chat", schema_url="")],
    "T1": [setting("chat", "gen_ai.response.time_to_first_chunk", 0.1)],
    "T2": [setting(SECOND, "gen_ai.request.stream", True)],
    "E1": [setting("chat gpt", "error.type", None), setting(SECOND, "error.type", "500")],
    "E2": [changing(SECOND, status="OK")],
    "E3": [setting("chat gpt", "error.type", "the provider said no")],
    "U1": [setting("POST", "gen_ai.usage.input_tokens", 100)],
    "U3": [setting("route", "gen_ai.request.model", "gpt-5-mini")],
    "U4": [setting("chat gpt", "gen_ai.usage.input_tokens", 0)],
    "U5": [setting(SECOND, "gen_ai.usage.cache_read.input_tokens", 101)],
    "R1": [setting(SECOND, "fw.attempt.number", 3)],
    "R2": [setting(SECOND, "fw.attempt.reason", "luck")],
    "R3": [changing(SECOND, links=[])],
    "R4": [second_route],
    "R5": [both_succeed],
    "R6": [setting("route", "fw.route.policy.version", None)],
    "R7": [setting("route", "fw.route.candidate.exclusion_reasons", [""])],
    "R8": [setting("route", "fw.decision.id", "another")],
    "R9": [setting("POST", "fw.call.actual.cost", 1.0), setting(SECOND, "fw.cost.amount", None)],
    "P1": [setting("chat", "gen_ai.input.messages", "[]")],
}
CASES = [
    pytest.param(rule, plant, id=f"{rule}-{number}")
    for rule, plants in PLANTED.items()
    for number, plant in enumerate(plants)
]


@pytest.mark.parametrize(("rule", "plant"), CASES)
def test_a_planted_violation_is_found_by_its_rule(
    rule: str, plant: Callable[[list[SpanRow]], None], tmp_path: Path
) -> None:
    """Each rule has been seen failing."""
    spans = written(samples.fallback(), tmp_path)
    plant(spans)
    assert rule in {name for name, _, _ in conformance.check(spans)}


@pytest.mark.parametrize(("rule", "plant"), CASES)
def test_the_independent_checker_finds_the_same_planted_violation(
    rule: str, plant: Callable[[list[SpanRow]], None], tmp_path: Path, theirs: ModuleType
) -> None:
    """Our rules are no laxer: whatever the other checker finds in a planted trace, ours finds too."""
    spans = written(samples.fallback(), tmp_path)
    plant(spans)
    ours = {name for name, _, _ in conformance.check(spans)}
    others = {name for name, _, _ in theirs.check(as_theirs(spans))}
    assert rule in others
    assert others <= ours


@pytest.mark.parametrize("kind", samples.ALL)
def test_the_usage_and_the_money_of_a_trace_are_what_was_billed(kind: str, tmp_path: Path) -> None:
    """Summed over all spans of a trace, tokens and cost count once."""
    record = samples.ALL[kind]()
    spans = written(record, tmp_path)
    billed = [attempt.usage for attempt in record.attempts if attempt.usage is not None]
    tokens = sum(span.attributes.get("gen_ai.usage.input_tokens", 0) for span in spans)
    assert tokens == sum(usage.input_tokens or 0 for usage in billed)
    spent = sum(span.attributes.get("fw.cost.amount", 0.0) for span in spans)
    assert spent == pytest.approx(sum(attempt.cost or 0 for attempt in record.attempts) / 1e9, abs=1e-12)


@pytest.mark.parametrize("kind", samples.ALL)
def test_the_prompt_is_in_no_file(kind: str, tmp_path: Path) -> None:
    """A word of the prompt, repeated in other fields and in a provider's error, appears in no byte that is kept."""
    from fw_gateway.ledger import SqliteLedger  # noqa: PLC0415

    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    recorder = Recorder(
        samples.config(str(tmp_path)), ledger, environ={"FW_EVENTS_FILE": str(tmp_path / "events.jsonl")}
    )
    recorder.put(samples.ALL[kind]())
    recorder.flush()
    ledger.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"fw.call.outcome" in kept
    assert samples.CANARY.encode() not in kept
    assert samples.CANARY not in recorder.prometheus(openmetrics=True)


def test_route_and_attempts_are_siblings_under_the_server_span(tmp_path: Path) -> None:
    """One SERVER span; route and attempts hang under it, and it under the caller's span."""
    record = samples.fallback()
    (trace,) = reader.trees(written(record, tmp_path))
    (server,) = trace.roots
    assert server.parent_id == record.call.trace.parent_id
    assert [child.name for child in server.children] == ["route coding", "chat gpt-5-mini", "chat Qwen/Qwen3-Coder-30B"]
    assert all(not child.children for child in server.children)


def test_only_a_failure_of_ours_marks_the_server_span(tmp_path: Path) -> None:
    """A fallback that worked and a client's own mistake leave it unset; 5xx does not."""
    found = {}
    for kind in ("fallback", "refused", "disconnected", "exhausted"):
        folder = tmp_path / kind
        found[kind] = first(written(samples.ALL[kind](), folder), "POST").status
    assert found == {"fallback": "UNSET", "refused": "UNSET", "disconnected": "UNSET", "exhausted": "ERROR"}


def test_megabytes_as_a_name_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Model, user agent, and what an upstream calls its answer are cut; the rules still hold."""
    long = "x" * 1_000_000
    target = replace(samples.QWEN, upstream_model=long)
    asked = samples.call(model=long, user_agent=long)
    attempt = samples.attempt(target=target, response_id=long, response_model=long, finish_reasons=(long,) * 100)
    spans = written(samples.record(asked, [attempt]), tmp_path)
    assert (tmp_path / "traces.jsonl").stat().st_size < 20_000
    assert conformance.check(spans) == []
