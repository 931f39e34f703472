"""The traces of a running gateway obey the contract, whatever happened to the call."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.endtoend.conftest import Gateway, until
from tests.endtoend.upstream import USAGE

CHECKER = Path(__file__).parents[3] / "shared/tools/trace_conformance.py"
KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}
STATUS = {0: "UNSET", 1: "OK", 2: "ERROR"}
PARENT = "00-{trace}-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    if not CHECKER.exists():
        pytest.skip("the independent trace checker is not beside this checkout; tests/telemetry holds the same rules")
    spec = importlib.util.spec_from_file_location("trace_conformance", CHECKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def value(found: dict[str, Any]) -> Any:
    """A plain value from OTLP's tagged one."""
    (tag, inner), *_ = found.items()
    if tag == "arrayValue":
        return [value(item) for item in inner.get("values", [])]
    return int(inner) if tag == "intValue" else inner


def attributes(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: value(item["value"]) for item in found}


def spans(path: Path, trace: str) -> list[dict[str, Any]]:
    """Spans of one trace, in the checker's form."""
    out = []
    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():  # the last one may still be being written
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    if span["traceId"] != trace:
                        continue
                    links = [
                        {"span_id": link["spanId"], "attributes": attributes(link.get("attributes", []))}
                        for link in span.get("links", [])
                    ]
                    out.append(
                        {
                            "trace_id": trace,
                            "span_id": span["spanId"],
                            "parent_id": span.get("parentSpanId") or None,
                            "name": span["name"],
                            "kind": KINDS[span["kind"]],
                            "status": STATUS[span.get("status", {}).get("code", 0)],
                            "attributes": attributes(span.get("attributes", [])),
                            "links": links,
                            "start": int(span["startTimeUnixNano"]),
                            "end": int(span["endTimeUnixNano"]),
                            "scope": scope["scope"]["name"],
                            "schema_url": scope.get("schemaUrl"),
                        }
                    )
    return out


CALLS: dict[str, tuple[str, bool, int]] = {
    # name: (model, stream, attempts)
    "a plain call": ("fx-ok", False, 1),
    "a stream": ("fx-ok", True, 1),
    "a fallback": ("safe-503", False, 2),
    "a fallback of a stream": ("safe-cut_clean:1", True, 2),
    "a broken stream": ("fx-cut_rst:30", True, 1),
    "a refusal": ("fx-400", False, 1),
}


@pytest.mark.parametrize("number", range(len(CALLS)), ids=list(CALLS))
def test_a_trace_breaks_no_rule(gateway: Gateway, checker: ModuleType, number: int) -> None:
    """0 violations, the expected spans, and the tokens that were billed."""
    model, stream, attempts = list(CALLS.values())[number]
    trace = f"{number + 1:032x}"
    gateway.chat(model, stream=stream, headers={"traceparent": PARENT.format(trace=trace), "x-fw-agent": "tester"})
    found = until(lambda: spans(gateway.traces, trace), what="the trace")
    assert checker.check(found) == []
    by_kind = [span["kind"] for span in found]
    assert by_kind.count("SERVER") == 1
    assert by_kind.count("CLIENT") >= attempts
    server = next(span for span in found if span["kind"] == "SERVER")
    assert server["parent_id"] == "b7ad6b7169203331"
    assert {span["parent_id"] for span in found if span is not server} == {server["span_id"]}
    if model.startswith(("fx-ok", "safe")):
        assert (
            sum(span["attributes"].get("gen_ai.usage.output_tokens", 0) for span in found) == USAGE["completion_tokens"]
        )


def test_a_client_that_leaves_has_a_trace_too(gateway: Gateway, checker: ModuleType) -> None:
    """A disconnect is no error of the upstream, and no rule is broken by it."""
    trace = f"{99:032x}"
    headers = {"traceparent": PARENT.format(trace=trace), "content-type": "application/json"}
    body = json.dumps({"model": "fx-silent", "messages": [{"role": "user", "content": "hi"}]}).encode()
    with pytest.raises(TimeoutError):
        gateway.ask("POST", "/v1/chat/completions", body, headers, timeout=0.3)
    found = until(lambda: spans(gateway.traces, trace), what="the trace")
    assert checker.check(found) == []
    attempt = next(span for span in found if span["kind"] == "CLIENT")
    assert attempt["attributes"].get("error.type") in {None, "client_disconnected"}


def test_a_prompt_is_in_no_telemetry(gateway: Gateway) -> None:
    """Content stays out of spans and events unless somebody asked for it."""
    canary = "canary-7f3a91"
    trace = f"{77:032x}"
    body = json.dumps({"model": "fx-ok", "messages": [{"role": "user", "content": canary}], "user": canary}).encode()
    headers = {"traceparent": PARENT.format(trace=trace), "content-type": "application/json"}
    assert gateway.ask("POST", "/v1/chat/completions", body, headers).status == 200
    until(lambda: spans(gateway.traces, trace), what="the trace")
    for path in gateway.folder.rglob("*"):
        if path.is_file() and path.suffix in {".jsonl", ".sqlite", ".log"}:
            assert canary.encode() not in path.read_bytes(), path
