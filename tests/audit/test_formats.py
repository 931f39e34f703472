"""Every format is read into the same rows, by hand-made files in the form of each export."""

import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from fw_gateway.audit import langfuse, litellm, otel, own, read
from fw_gateway.audit.rows import CallRow, Row, Score
from fw_gateway.audit.stream import Progress
from fw_gateway.ledger.schema import migrate

FIXTURES = Path(__file__).parent / "fixtures"


def rows(path: Path) -> tuple[list[Row], read.Reading]:
    reading = read.Reading()
    return list(read.rows(path, reading, Progress())), reading


def calls(name: str) -> dict[str, CallRow]:
    return {row.call: row for row in rows(FIXTURES / name)[0] if isinstance(row, CallRow)}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("litellm_spend.csv", litellm.NAME),
        ("litellm_payload.jsonl", litellm.NAME),
        ("langfuse_observations_v2.jsonl", langfuse.NAME),
        ("langfuse_scores.jsonl", langfuse.NAME),
        ("langfuse_api.json", langfuse.NAME),
        ("langfuse_ui.csv", langfuse.NAME),
        ("otel_new.jsonl", otel.NAME),
        ("otel_old.jsonl", otel.NAME),
    ],
)
def test_a_format_is_recognised_and_read_without_complaint(name: str, form: str) -> None:
    """Nobody has to say what a file is."""
    found, reading = rows(FIXTURES / name)
    assert found
    assert reading.formats == [form]
    assert not reading.problems


def test_a_spend_log_says_who_when_what_and_how_much() -> None:
    """Step from the caller's metadata, agent from a tag, run from the session, tokens of the cache from the usage."""
    row = calls("litellm_spend.csv")["chatcmpl-1"]
    assert (row.agent, row.step, row.run) == ("shop", "answer", "sess-1")
    assert (row.model, row.provider) == ("gpt-4o", "openai")
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.cost) == (1000, 400, 500, 12_500_000)
    assert (row.latency, row.ttft, row.ok) == (4.0, 0.5, True)


def test_a_spend_of_zero_for_tokens_is_unknown_and_of_a_cache_hit_is_zero() -> None:
    """LiteLLM writes 0 when it knows no price; what its cache answered is really free."""
    found = calls("litellm_spend.csv")
    assert found["chatcmpl-3"].cost is None
    assert found["chatcmpl-5"].cost == 0
    assert not found["chatcmpl-4"].ok


def test_a_call_that_did_not_stream_has_no_time_to_first_token() -> None:
    """LiteLLM sets it to the end then."""
    assert calls("litellm_spend.csv")["chatcmpl-2"].ttft is None


def test_the_logging_payload_is_read_bare_or_wrapped_and_tools_name_a_nameless_step() -> None:
    """The order of the tools does not matter."""
    found = calls("litellm_payload.jsonl")
    assert (found["chatcmpl-a"].agent, found["chatcmpl-a"].step, found["chatcmpl-a"].ttft) == ("coder", "plan", 0.25)
    assert found["chatcmpl-a"].cached_tokens == 250
    assert found["chatcmpl-b"].step == "tools(fetch,search)"


def test_langfuse_counts_cached_and_reasoning_tokens_once() -> None:
    """Its `input` leaves out what has a key of its own."""
    row = calls("langfuse_observations_v2.jsonl")["obs-1"]
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (400, 100, 60)
    assert (row.agent, row.step, row.run, row.cost) == ("support-agent", "classify", "lf-1", 300_000)
    assert (row.latency, row.ttft) == (3.0, 0.5)


def test_a_library_s_own_name_is_no_step_and_a_cost_of_zero_is_unknown() -> None:
    """Every call is called ChatOpenAI by its library; the node that made it is in the metadata."""
    row = calls("langfuse_observations_v2.jsonl")["obs-2"]
    assert (row.step, row.cost, row.ok) == ("reply", None, False)


def test_scores_speak_of_a_call_or_of_a_run() -> None:
    """By which id they carry."""
    found = rows(FIXTURES / "langfuse_scores.jsonl")[0]
    assert found == [Score("lf-1", "obs-1", "correct", 1.0), Score("lf-1", "", "rating", 4.0)]


def test_a_span_takes_agent_step_and_run_from_those_above_it_wherever_they_stand() -> None:
    """The parent is written after the child; an agent's own span is no call although it names a model."""
    found = rows(FIXTURES / "otel_new.jsonl")[0]
    (row,) = [row for row in found if isinstance(row, CallRow)]
    assert (row.agent, row.step, row.run) == ("triager", "sort", "conv-1")
    assert (row.input_tokens, row.cached_tokens, row.latency, row.ttft) == (1000, 200, 2.0, 0.3)
    assert [item for item in found if isinstance(item, Score)] == [Score("conv-1", row.call, "relevance", 0.75)]


def test_the_old_names_of_the_conventions_are_read_too() -> None:
    """As the console exporter of the SDK writes them."""
    (row,) = calls("otel_old.jsonl").values()
    assert (row.provider, row.input_tokens, row.output_tokens, row.ok, row.agent) == ("openai", 40, 7, False, "old")


def test_our_own_ledger_is_read(tmp_path: Path) -> None:
    """Calls and outcomes, with the step that an outcome names."""
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection)
    columns = [row[1:4] for row in connection.execute("PRAGMA table_info(calls)")]
    values = {name: "" if kind == "TEXT" else 0 for name, kind, needed in columns if needed}
    values |= {"decision_id": "d1", "started_ns": 10**18, "agent": "a", "step": "s", "run": "r", "served_model": "m"}
    values |= {"status": 200, "latency": 1.5, "cost": 42}
    names = ", ".join(values)
    connection.execute(f"INSERT INTO calls ({names}) VALUES ({', '.join('?' * len(values))})", list(values.values()))
    connection.execute(
        "INSERT INTO outcomes (at_ns, scope, scope_id, step, agent, name, value, source, version, key)"
        " VALUES (1, 'run', 'r', 's', 'a', 'ok', 1.0, '', '', '')"
    )
    connection.close()
    found, reading = rows(path)
    assert reading.formats == [own.NAME]
    assert isinstance(found[0], CallRow)
    assert (found[0].agent, found[0].step, found[0].run, found[0].cost, found[0].ok) == ("a", "s", "r", 42, True)
    assert found[1] == Score("r", "", "ok", 1.0, "s")


def test_a_gzipped_file_and_a_list_give_the_same_rows_as_lines(tmp_path: Path) -> None:
    """How it is packed does not matter."""
    lines = (FIXTURES / "litellm_payload.jsonl").read_bytes()
    packed, listed = tmp_path / "x.jsonl.gz", tmp_path / "x.json"
    packed.write_bytes(gzip.compress(lines))
    listed.write_text(json.dumps([json.loads(line) for line in lines.splitlines()], indent=1))
    plain = rows(FIXTURES / "litellm_payload.jsonl")[0]
    assert rows(packed)[0] == plain
    assert rows(listed)[0] == plain
