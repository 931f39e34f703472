"""The fault suite itself: its oracles, its table, its scorecard; and a small part of it before a real gateway."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.suite import checks, score, sse
from tests.faults.suite.__main__ import better
from tests.faults.suite.adapter import Adapter
from tests.faults.suite.check import ABSENT, CHECKS, FAIL, PASS, SAFE, TRUNCATED, Check, Finding, Group
from tests.faults.suite.checks.streams import truncation
from tests.faults.suite.client import Reply
from tests.faults.suite.names import AAAA, A, Names
from tests.faults.suite.promises import PROMISES
from tests.faults.upstream.answers import TEXT
from tests.faults.upstream.launch import ROOT
from tests.faults.upstream.modes import MODES
from tests.faults.upstream.naming import parse

QUICK = (
    "12.stream", "17.over_cap", "19.committed", "25.redirects", "27.bytes", "28.chat", "29.chat", "30.chat", "32.leaving",
    "35.chat", "36.chat", "37.chat", "71.smuggling",
)  # fmt: skip
"""Checks that are quick, and that this gateway must never fail again."""


def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


def reply(body: bytes, *, status: int = 200, whole: bool = True, end: str = "quiet") -> Reply:
    """An answer as a client would have it."""
    length = len(body) + (0 if whole else 7)
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n".encode()
    return Reply(data=head + body, stream=True, end=end)


GOOD = chunk({"role": "assistant", "content": ""}) + chunk({"content": TEXT}) + chunk({}, "stop") + b"data: [DONE]\n\n"
HALF = chunk({"role": "assistant", "content": ""}) + chunk({"content": TEXT[:50]})
ERROR = b'data: {"error":{"message":"m","type":"t","code":"c"}}\n\n'


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (reply(GOOD), "whole"),
        (reply(HALF + chunk({}, "stop") + b"data: [DONE]\n\n"), "success"),
        (reply(HALF), "success"),
        (reply(HALF, whole=False, end="fin"), "broken"),
        (reply(HALF, end="rst"), "broken"),
        (reply(HALF + ERROR), "told"),
        (reply(b"{}", status=502), "told"),
    ],
)
def test_the_oracle_of_truncation(found: Reply, kind: str) -> None:
    """Half an answer that ends as if it were whole is a success to a client, with or without a finish reason."""
    assert truncation(found) == kind


def test_the_parser_follows_the_standard() -> None:
    """CR, LF, CRLF, comments, several data lines, a byte order mark; an event without its blank line is none."""
    body = b"\xef\xbb\xbf: hi\r\ndata:a\r\ndata: b\r\n\r\nevent: x\rdata: c\r\rdata: lost"
    assert [(event.name, event.data) for event in sse.parse(body)] == [("", "a\nb"), ("x", "c")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (GOOD, ""),
        (GOOD + b"data: [DONE]\n\n", "2 terminators"),
        (GOOD + chunk({"content": "x"}), "1 terminators"),
        (chunk({"role": "a"}) + GOOD, "roles"),
        (HALF + b"data: [DONE]\n\n", "0 choices finished"),
    ],
)
def test_the_automaton_of_chat(body: bytes, words: str) -> None:
    """It accepts the canonical stream and says what is wrong with others."""
    found = sse.chat_grammar(sse.parse(body))
    assert found == words if not words else words in found


def test_the_table_is_whole() -> None:
    """Every promise of the table has a check, ids and model prefixes are unique, and there is an adapter for each name."""
    assert checks.__all__
    assert {one.row for one in CHECKS} == set(PROMISES)
    assert len({one.id for one in CHECKS}) == len(CHECKS)
    prefixes = [one.prefix(group, run) for one in CHECKS for group in one.groups for run in range(one.runs)]
    assert not [one for one in prefixes for other in prefixes if one != other and other.startswith(one)]


def test_modes_of_the_table_exist() -> None:
    """What a check asks for by name is a mode of the upstream."""
    for name in ("11.failover", "30.chat"):
        one = next(found for found in CHECKS if found.id == name)
        assert parse(f"{one.prefix('g')}fx-err_at:1@0") is not None
    assert {"err_at", "silent", "stall", "ping_forever", "memory_pressure", "flood"} <= set(MODES)


@pytest.mark.parametrize("name", ["fwsdk", "litellm"])
def test_an_adapter_makes_a_config(name: str) -> None:
    """Every group of every check is in it, with its ports and limits."""
    ports = {"ports": [1001, 1002, 1003], "refuse": 1004, "tls": 1005}
    one = Check(28, "x", "B", "", {"a": Group((0, 1), stall=9.5), "t": Group(("tls", "refuse"))}, None, 1.0)  # type: ignore[arg-type]
    text = Adapter.load(name).config([one], ports)
    assert "c28xa-a-*" in text
    assert all(f":{port}" in text for port in (1001, 1002, 1004, 1005))
    assert "https://localhost:1005/v1" in text
    assert name != "fwsdk" or "stall_limit: 9.5s" in text


def entry(row: int, name: str, verdict: str, never: list[str] | None = None) -> tuple[str, tuple[Check, Finding]]:
    one = Check(row, name, "B", "", {}, None, 1.0)  # type: ignore[arg-type]
    return one.id, (one, Finding(verdict, "7 of 9", "why|so", never or []))


def test_a_row_is_as_good_as_its_worst_check() -> None:
    """What cannot be judged keeps a row from passing; a failure outweighs it."""
    findings = dict([
        entry(27, "a", PASS), entry(27, "b", PASS), entry(28, "a", PASS), entry(28, "b", ABSENT), entry(29, "a", ABSENT),
        entry(29, "b", FAIL, [f"{TRUNCATED}: x"]), entry(30, "a", SAFE), entry(30, "b", PASS),
    ])  # fmt: skip
    assert [row.verdict for row in score.rows(findings)] == [PASS, ABSENT, FAIL, SAFE]
    assert score.last_line(findings) == "1/4 promises, 1 never-events"
    about = {"gateway": "x", "profile": "fast", "seed": 1, "seconds": 1.0, "cores": 2, "date": "2026-01-01"}
    text = score.as_markdown(findings, about)
    assert f"- 29.b: {TRUNCATED}: x" in text
    assert "why|so" not in text.split("## ")[0]
    assert json.loads(score.as_json(findings, about))["rows"][0]["verdict"] == PASS


def test_a_second_run_forgets_no_never_event() -> None:
    """The better run is the finding; what must never happen counts of both."""
    found = better(Finding(FAIL, "1", "", ["x"]), Finding(PASS, "2"))
    assert (found.verdict, found.measured, found.never) == (PASS, "2", ["x"])


def run(*arguments: str, seconds: float = 220) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.suite", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_part_of_the_suite_before_this_gateway(tmp_path: Path) -> None:
    """What it promises of streams, failover, redirects and smuggling holds, and no never-event is seen."""
    wanted = [argument for name in QUICK for argument in ("--check", name)]
    card = tmp_path / "card.md"
    done = run("--json", "--scorecard", str(card), *wanted)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    found = json.loads(done.stdout)
    assert {one["id"]: one["verdict"] for one in found["checks"]} == dict.fromkeys(QUICK, PASS), done.stderr
    assert found["never"] == []
    assert card.read_text().startswith("# Scorecard of `fwsdk`")


def test_the_command_explains_itself() -> None:
    """It lists its checks, and refuses a row that is none."""
    assert len(run("--list").stdout.splitlines()) == len(CHECKS)
    refused = run("--row", "400")
    assert refused.returncode == 1
    assert "rows are [1, 2" in refused.stderr


@pytest.mark.parametrize(
    ("name", "kind", "known", "code", "count"),
    [
        ("a.test", A, ["127.0.0.9"], 0, 1),
        ("A.Test", AAAA, ["127.0.0.9", "::1"], 0, 1),
        ("a.test", AAAA, ["127.0.0.9"], 0, 0),
        ("a.test", A, None, 3, 0),
        ("b.test", A, ["127.0.0.9"], 3, 0),
    ],
)
def test_the_name_server_knows_one_name_as_it_was_told(
    name: str, kind: int, known: list[str] | None, code: int, count: int
) -> None:
    """The kind of address that is asked for, in the wire's form; NXDOMAIN for all others, or when there is no such name."""
    names = Names("a.test")
    names.addresses = known
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = labels + b"\0" + struct.pack("!HH", kind, 1)
    found = names.answer(struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + question)
    number, flags, asked, answers, _, _ = struct.unpack_from("!6H", found)
    assert (number, flags & 15, asked, answers) == (7, code, 1, count)
    assert found[12:].startswith(question)
    packed = {A: b"\x7f\0\0\x09", AAAA: b"\0" * 15 + b"\1"}[kind]
    assert found.endswith(packed) is bool(count)
