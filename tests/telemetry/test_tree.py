"""A trace is shown as a tree that fits the terminal and adds up."""

from pathlib import Path

import pytest

from fw_gateway.telemetry import Recorder, reader, tree
from fw_gateway.telemetry.reader import Trace
from tests.telemetry import samples


def shown(folder: Path, *kinds: str) -> list[Trace]:
    recorder = Recorder(samples.config(str(folder)), environ={})
    for kind in kinds:
        recorder.put(samples.ALL[kind]())
    recorder.flush()
    return reader.trees(reader.read(folder / "traces.jsonl"))


def test_a_fallback_reads_from_top_to_bottom(tmp_path: Path) -> None:
    """Names with branches, the failed attempt marked, tokens and cost once at the end."""
    (trace,) = shown(tmp_path, "fallback")
    lines = tree.text(trace).splitlines()
    assert lines[0].startswith(f"trace {trace.trace_id}  4 spans  1.00 s  1 failed")
    assert [line.split("  ")[0].strip() for line in lines[2:6]] == [
        "POST /v1/chat/completions",
        "├ route coding",
        "├ chat gpt-5-mini",
        "└ chat Qwen/Qwen3-Coder-30B",
    ]
    assert "✗" in lines[4]
    assert "429" in lines[4]
    assert "fallback #2 · 100 (64 cached) → 20 tok" in lines[5]
    assert lines[-1] == "2 attempts · 100 → 20 tokens · cost $0.0000247"


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_no_line_is_wider_than_it_may_be(tmp_path: Path, width: int) -> None:
    """Whatever the call was."""
    for trace in shown(tmp_path, *samples.ALL):
        for text in (tree.text(trace, width=width), tree.waterfall(trace, width=width)):
            assert max(map(len, text.splitlines())) <= width


def test_bars_lie_where_the_spans_lie(tmp_path: Path) -> None:
    """The second attempt's bar begins about where the first one's ends."""
    (trace,) = shown(tmp_path, "fallback")
    server, _, first, second = trace.spans
    drawn = [tree.bar(trace.start, trace.end, span, 40) for span in (server, first, second)]
    assert drawn[0] == "█" * 40
    assert drawn[1].startswith("█" * 17)
    assert drawn[2].startswith(" " * 20)
    assert all(len(one) == 40 for one in drawn)


def test_an_unknown_cost_is_called_unknown(tmp_path: Path) -> None:
    """A client that left early leaves no bill that could be known."""
    (trace,) = shown(tmp_path, "disconnected")
    assert tree.text(trace).splitlines()[-1] == "1 attempt · 0 → 0 tokens · cost unknown"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2.5e-5, "25.0 µs"), (0.0042, "4.20 ms"), (0.45, "450 ms"), (9.87, "9.87 s"), (75.2, "75.2 s")],
)
def test_durations_have_three_digits_and_a_unit(value: float, text: str) -> None:
    assert tree.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "$0"), (1.5, "$1.5000"), (0.0123, "$0.0123"), (1.2e-8, "$0.000000012")]
)
def test_small_money_stays_visible(value: float, text: str) -> None:
    assert tree.money(value) == text


def test_a_trace_is_found_by_id_by_run_by_decision_or_as_the_last(tmp_path: Path) -> None:
    """The beginning of an id is enough; what is not there is not found."""
    traces = shown(tmp_path, "plain", "refused")
    plain = traces[0]
    decision = plain.spans[0].attributes["fw.decision.id"]
    assert reader.find(traces, plain.trace_id[:8]) is plain
    assert reader.find(traces, decision) is plain
    assert reader.find(traces, "run-7") is not None
    assert reader.find(traces, "last") in traces
    assert reader.find(traces, "nothing") is None
    assert reader.find([], "last") is None


def test_a_cut_line_is_passed_over(tmp_path: Path) -> None:
    """A machine that lost power mid-line costs that line only; a rotated file is read first."""
    shown(tmp_path, "plain")
    path = tmp_path / "traces.jsonl"
    line = path.read_bytes()
    Path(f"{path}.1").write_bytes(line)
    path.write_bytes(line[:100] + b"\n" + b"[1]\n" + line)
    assert len(reader.read(path)) == 6
    assert len(reader.trees(reader.read(path))) == 1


def test_spans_of_two_processes_are_one_tree(tmp_path: Path) -> None:
    """The caller's spans and ours hang together by their ids, whichever was written first."""
    (trace,) = shown(tmp_path, "plain")
    server = trace.roots[0]
    caller = reader.SpanRow(
        server.trace_id, server.parent_id, "", "chat auto", "CLIENT", "UNSET", "", server.start - 5, server.end + 5,
        {}, [], "fw.sdk", "", {"service.name": "agent"},
    )  # fmt: skip
    (joined,) = reader.trees([*trace.spans, caller])
    assert [span.name for span in joined.roots] == ["chat auto"]
    assert tree.text(joined).splitlines()[3].startswith("└ POST")
