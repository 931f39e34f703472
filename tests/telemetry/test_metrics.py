"""Metrics have exact buckets, few attributes, bounded series; they see every call."""

import re
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource

from fw_gateway.telemetry import Recorder, exposition, metrics
from fw_gateway.telemetry.otel import scope
from fw_gateway.telemetry.push import metrics_data
from fw_gateway.values import Identity, Record, Trace
from tests.telemetry import samples

CONTRACT = {
    "gen_ai.client.operation.duration": ("s", [0.01 * 2**n for n in range(14)]),
    "gen_ai.client.operation.time_to_first_chunk": ("s", [0.01 * 2**n for n in range(14)]),
    "gen_ai.client.token.usage": ("{token}", [4**n for n in range(14)]),
    "http.server.request.duration": ("s", [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]),
    "fw.route.estimate.error": ("1", [0.25, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 4]),
}
FORBIDDEN = ("user", "conversation", "decision", "request.id", "trace", "prompt", "key", "url", "run", "thread")


def recorder(folder: Path, **changes: object) -> Recorder:
    return Recorder(samples.config(str(folder)), environ={"OTEL_TRACES_EXPORTER": "none"}, **changes)


def fed(folder: Path, records: list[Record]) -> Recorder:
    made = recorder(folder)
    for record in records:
        made.put(record)
    assert made.flush()
    return made


def value(page: str, name: str, **labels: str) -> float:
    """The sum of the lines of `name` that have these labels."""
    total = 0.0
    for line in page.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line.partition(" # ")[0])
        if found and all(f'{key}="{text}"' in (found[1] or "") for key, text in labels.items()):
            total += float(found[2])
    return total


@pytest.mark.parametrize("name", CONTRACT)
def test_buckets_and_units_are_those_of_the_contract(name: str) -> None:
    """Explicit boundaries, exactly."""
    unit, bounds = CONTRACT[name]
    (found,) = [instrument for instrument in metrics.INSTRUMENTS if instrument.name == name]
    assert found.unit == unit
    assert list(found.bounds) == pytest.approx(bounds)


def test_overhead_buckets_begin_at_fifty_microseconds_and_planning_at_ten() -> None:
    """Where the gateway's own time is."""
    assert metrics.CALL_OVERHEAD.bounds[0] == 0.00005
    assert metrics.ROUTE_DURATION.bounds[0] == 0.00001


def test_no_metric_carries_an_unbounded_attribute() -> None:
    """No user, conversation, id, key, prompt or url in any instrument's list; no counter's name ends in `total`."""
    for instrument in metrics.INSTRUMENTS:
        assert not [label for label in instrument.labels for word in FORBIDDEN if word in label], instrument.name
        assert not instrument.name.endswith("total")
        assert not instrument.name.startswith("gen_ai.server")


def test_a_bound_belongs_to_the_bucket_below_it() -> None:
    """As in OpenTelemetry: upper bounds are inclusive."""
    table = metrics.Table(metrics.OPERATION_DURATION)
    for measured in (0.01, 0.0100001, 100.0):
        table.observe(("chat",) + ("",) * 6, measured)
    (series,) = table.series.values()
    assert (series.buckets[0], series.buckets[1], series.buckets[-1]) == (1, 1, 1)


def test_ten_thousand_users_make_no_more_series_than_one(tmp_path: Path) -> None:
    """Conversations, runs, user agents and invented model names do not become series."""
    records = []
    for number in range(10_000):
        who = Identity(agent=f"a{number}", thread=f"t{number}", run=f"r{number}")
        asked = samples.call(
            identity=who, model=f"model-{number}", user_agent=f"ua{number}", fields={}, key_id=f"k{number}"
        )
        records.append(samples.record(asked, [samples.attempt(response_model=f"answered-{number}")]))
    made = recorder(tmp_path, queue=20_000)
    for record in records:
        made.put(record)
    made.flush()
    page = made.prometheus()
    assert page.count("fw_call_duration_seconds_count") == 1
    assert page.count("gen_ai_client_operation_duration_seconds_count") == 1
    assert value(page, "fw_call_duration_seconds_count", fw_request_model="other") == 10_000
    assert 'gen_ai_response_model="other"' in page


def test_series_beyond_the_limit_fall_together() -> None:
    """At most 2,000 series of one instrument; the last is the overflow, and nothing is lost from the sum."""
    table = metrics.Table(metrics.ATTEMPTS)
    for number in range(5000):
        table.add((str(number), "", "", "", ""))
    assert len(table.series) == metrics.MAX_SERIES
    assert sum(series.total for series in table.series.values()) == 5000
    assert metrics.named(metrics.ATTEMPTS, metrics.OVERFLOW) == {"otel.metric.overflow": True}


def test_calls_attempts_money_and_tokens_add_up(tmp_path: Path) -> None:
    """One call of each kind: the page says what happened."""
    page = fed(tmp_path, [made() for made in samples.ALL.values()]).prometheus()
    records = [made() for made in samples.ALL.values()]
    assert value(page, "fw_call_duration_seconds_count") == len(records)
    assert value(page, "http_server_request_duration_seconds_count") == len(records) - 1  # one was in process
    assert value(page, "fw_attempts_total") == sum(len(record.attempts) for record in records)
    assert value(page, "fw_attempts_total", fw_attempt_reason="fallback", fw_attempt_outcome="success") == 2
    served = [record for record in records if record.served]
    assert value(page, "fw_call_cost_usd_total") == pytest.approx(sum(record.cost or 0 for record in served) / 1e9)
    assert value(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 20 * 5
    assert value(page, "fw_route_decisions_total", fw_route_reason="pinned") == 1


def test_estimates_are_compared_with_what_came(tmp_path: Path) -> None:
    """A call planned for 45,000 nano-USD that cost 12,345 has an error of 0.274."""
    page = fed(tmp_path, [samples.plain()]).prometheus()
    assert value(page, "fw_route_estimate_error_sum", quantity="cost") == pytest.approx(12_345 / 45_000)
    assert value(page, "fw_route_estimate_error_sum", quantity="output_tokens") == pytest.approx(20 / 120)


def test_the_sum_of_the_histogram_is_the_sum_of_the_spans(tmp_path: Path) -> None:
    """Attempt durations on the page equal those of the spans within one per cent."""
    from fw_gateway.telemetry import reader  # noqa: PLC0415

    made = Recorder(samples.config(str(tmp_path)), environ={})
    for kind in samples.ALL.values():
        made.put(kind())
    made.flush()
    spans = [span for span in reader.read(tmp_path / "traces.jsonl") if "fw.attempt.number" in span.attributes]
    total = value(made.prometheus(), "gen_ai_client_operation_duration_seconds_sum")
    assert total == pytest.approx(sum(span.seconds for span in spans), rel=0.01)


def test_exemplars_point_at_the_attempt_that_served(tmp_path: Path) -> None:
    """OpenMetrics carries them; the older text format must not."""
    record = samples.plain()
    made = fed(tmp_path, [record])
    told = f'# {{trace_id="{record.call.trace.trace_id}",span_id="{record.served.span_id}"}}'
    assert told in made.prometheus(openmetrics=True)
    assert "# {" not in made.prometheus()


def test_a_call_that_is_not_sampled_counts_but_is_no_exemplar(tmp_path: Path) -> None:
    """Metrics come before sampling; an exemplar must resolve to a span that exists."""
    record = samples.record(samples.call(trace=Trace("a" * 32, "b" * 16, 0)), [samples.attempt()])
    page = fed(tmp_path, [record]).prometheus(openmetrics=True)
    assert value(page, "fw_call_duration_seconds_count") == 1
    assert "# {" not in page


def test_the_openmetrics_page_has_its_form(tmp_path: Path) -> None:
    """Families declared once, counters suffixed, buckets cumulative and ended by +Inf, an end mark."""
    page = fed(tmp_path, [made() for made in samples.ALL.values()]).prometheus(openmetrics=True)
    lines = page.splitlines()
    assert lines[-1] == "# EOF"
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert "# TYPE fw_attempts counter" in lines
    counts = [
        int(line.partition(" # ")[0].rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("fw_call_overhead") and "_bucket" in line
    ]
    per_series = len(metrics.CALL_OVERHEAD.bounds) + 1
    for first in range(0, len(counts), per_series):
        assert counts[first : first + per_series] == sorted(counts[first : first + per_series])
    assert all(
        line.startswith("#") or re.fullmatch(r"[a-z_]+(\{.*\})? \S+( # \{.*\} \S+ \S+)?", line) for line in lines
    )


def test_the_older_format_is_read_by_older_scrapers(tmp_path: Path) -> None:
    """Counters are declared with their suffix, and there is no end mark."""
    page = fed(tmp_path, [samples.plain()]).prometheus()
    assert "# TYPE fw_attempts_total counter" in page
    assert "# EOF" not in page
    assert exposition.accepts_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert not exposition.accepts_openmetrics("text/plain")


def test_gauges_are_asked_when_they_are_read(tmp_path: Path) -> None:
    """They show the moment, not the past."""
    now = {"qwen@gpu-1": 3.0}
    made = recorder(tmp_path, gauges=lambda: [(metrics.INFLIGHT, (name,), count) for name, count in now.items()])
    assert value(made.prometheus(), "fw_deployment_inflight", fw_attempt_deployment="qwen@gpu-1") == 3
    now.clear()
    assert "fw_deployment_inflight{" not in made.prometheus()


def test_label_values_are_escaped(tmp_path: Path) -> None:
    """A policy's name may hold quotes and line breaks; the page stays readable."""
    from dataclasses import replace  # noqa: PLC0415

    record = replace(samples.plain(), plan=replace(samples.PLAN, policy='a"b\\c\nd'))
    assert 'fw_route_policy_name="a\\"b\\\\c\\nd"' in fed(tmp_path, [record]).prometheus()


def test_the_tables_become_metrics_of_the_sdk(tmp_path: Path) -> None:
    """What is pushed over OTLP: same names, units, bounds and counts, with exemplars; the standard encoder takes it."""
    made = fed(tmp_path, [kind() for kind in samples.ALL.values()])
    data = metrics_data(made._metrics.read(), Resource({}), scope("fw.gateway", "0.1.0", "https://x"), since=1, now=2)
    encoded = encode_metrics(data)
    by_name = {metric.name: metric for metric in encoded.resource_metrics[0].scope_metrics[0].metrics}
    points = by_name["fw.call.duration"].histogram.data_points
    assert sum(point.count for point in points) == len(samples.ALL)
    assert list(points[0].explicit_bounds) == list(metrics.B1)
    assert by_name["fw.attempts"].sum.is_monotonic
    assert any(point.exemplars for point in by_name["gen_ai.client.operation.duration"].histogram.data_points)
