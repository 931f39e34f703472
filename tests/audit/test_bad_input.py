"""What is broken is counted and said; what is whole is read; nothing is fatal but a file that nobody knows."""

import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.audit import read, stream
from fw_gateway.audit.rows import CallRow
from fw_gateway.audit.stream import Progress


def record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "request_id": f"r{number}",
        "call_type": "acompletion",
        "spend": 0.001,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "startTime": "2026-11-01T10:00:00Z",
        "endTime": "2026-11-01T10:00:01Z",
        "model": "m",
        **more,
    }


def rows(path: Path) -> tuple[list[CallRow], read.Reading]:
    reading = read.Reading()
    return [row for row in read.rows(path, reading, Progress()) if isinstance(row, CallRow)], reading


def test_a_broken_line_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    """A write that was cut, a number where an object should be, bytes that are no text."""
    path = tmp_path / "x.jsonl"
    lines = [
        json.dumps(record(1)).encode(),
        b'{"request_id": "r2", "call_ty',
        b"17",
        b"\xff\xfe\x00",
        b"",
        json.dumps(record(3)).encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    found, reading = rows(path)
    assert [row.call for row in found] == ["r1", "r3"]
    assert reading.problems == {"a line that is not JSON": 2, "a record that is no object": 1}


def test_values_that_cannot_be_are_unknown(tmp_path: Path) -> None:
    """Negative tokens, money that is text, an end before the start, nonsense where a mapping should be."""
    path = tmp_path / "x.jsonl"
    bad = record(
        1,
        prompt_tokens=-5,
        completion_tokens="many",
        spend="free",
        endTime="2025-01-01",
        metadata="{broken",
        request_tags=7,
    )
    path.write_text(json.dumps(bad))
    (row,) = rows(path)[0]
    assert (row.input_tokens, row.output_tokens, row.cost, row.latency, row.cached_tokens) == (None,) * 5
    assert row.step == "*"


def test_a_record_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One huge prompt does not cost the rest of the file."""
    monkeypatch.setattr(stream, "LONGEST", 64 * 1024)
    monkeypatch.setattr(stream, "CHUNK", 16 * 1024)
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in (record(1), record(2, messages="x" * 300_000), record(3))))
    found, reading = rows(path)
    assert [row.call for row in found] == ["r1", "r3"]
    assert list(reading.problems.values()) == [1]


@pytest.mark.parametrize("listed", [True, False])
def test_a_large_file_is_never_in_memory_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, listed: bool
) -> None:
    """12 MB of records, as lines and as one list, at a peak far below."""
    monkeypatch.setattr(stream, "CHUNK", 64 * 1024)
    path = tmp_path / "x.json"
    texts = [json.dumps(record(number, messages="é" * 5000)) for number in range(400)]
    path.write_text("[" + ",\n".join(texts) + "]" if listed else "\n".join(texts), encoding="utf-8")
    size = path.stat().st_size
    tracemalloc.start()
    count = sum(1 for _ in read.rows(path, read.Reading(), Progress()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 400
    assert size > 10_000_000
    assert peak < size / 4


def test_a_list_that_is_cut_gives_what_came_before(tmp_path: Path) -> None:
    """And says that it was cut."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps([record(1), record(2)])[:-30])
    found, reading = rows(path)
    assert [row.call for row in found] == ["r1"]
    assert reading.problems == {"a list that is cut, or not JSON": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"  \n\n ", "is empty"),
        (b'{"foo": 1, "bar": 2}\n', "foo, bar"),
        (b"a,b,c\n1,2,3\n", "a, b, c"),
        (b"\x00\x01\x02\x03", "has no records"),
        (b"[1, 2]", "no object"),
    ],
)
def test_a_file_that_nobody_knows_is_refused_with_what_was_seen(tmp_path: Path, content: bytes, said: str) -> None:
    """The message names the fields of the first record."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(read.UnknownFormat, match=said):
        rows(path)


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    """It has no calls of ours."""
    path = tmp_path / "x.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    with pytest.raises(read.UnknownFormat, match="no ledger of ours"):
        rows(path)


def test_records_of_another_kind_among_known_ones_are_counted(tmp_path: Path) -> None:
    """Two exports in one file."""
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([json.dumps(record(1)), json.dumps({"foo": 1}), json.dumps(record(2, model=""))]))
    found, reading = rows(path)
    assert len(found) == 1
    assert reading.problems == {"a record that is not LiteLLM's": 1, "no model": 1}
