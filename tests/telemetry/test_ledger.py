"""The ledger keeps one row per call, and every outcome once."""

import logging
import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fw_gateway.ledger import Ledger, LedgerError, Report, SqliteLedger, open_ledger, plans
from fw_gateway.values import Identity
from fw_policies.model import Estimate, Outlook
from tests.telemetry import samples


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    made = SqliteLedger(tmp_path / "state" / "ledger.sqlite")
    yield made
    made.close()


@pytest.mark.parametrize("plan", [samples.PLAN, samples.PINNED], ids=["routed", "pinned"])
def test_a_plan_comes_back_as_it_was(plan: object) -> None:
    """Targets, prices, estimates, requirements, notes and evidence survive the way through the file."""
    digest, packed = plans.pack(plan)
    assert plans.unpack(packed) == plan
    assert plans.pack(plans.unpack(packed))[0] == digest


def test_the_sqlite_ledger_is_a_ledger(ledger: SqliteLedger) -> None:
    """It has everything the port asks for."""
    assert isinstance(ledger, Ledger)


def test_a_bound_that_is_infinite_survives_json() -> None:
    """One observation bounds nothing from above; JSON has no word for that."""
    known = Outlook(latency=Estimate(2.0, 0.0, math.inf, 1))
    plan = replace(samples.PLAN, outlook=known)
    _, packed = plans.pack(plan)
    assert plans.unpack(packed).outlook == known


def test_a_call_is_read_back_with_its_plan_and_what_became_of_it(ledger: SqliteLedger) -> None:
    """Ids, identity, plan, usage over all attempts, integer money, attempts."""
    record = samples.fallback()
    ledger.write([record])
    found = ledger.decision(record.call.decision_id)
    assert found is not None
    assert found.plan == samples.PLAN
    assert found.row["agent"] == "bugbot"
    assert found.row["trace_id"] == record.call.trace.trace_id
    assert found.row["served_model"] == "qwen3-coder-30b"
    assert found.row["policy_version"] == "3f9c2a"
    assert found.actual["cost"] == 24_690
    assert (found.actual["input_tokens"], found.actual["output_tokens"]) == (100, 20)
    assert [attempt["error_type"] for attempt in found.actual["attempts"]] == ["429", ""]


def test_what_is_unknown_is_null_and_never_zero(ledger: SqliteLedger) -> None:
    """A call whose client left has no cost and no tokens; one that was refused has no plan."""
    left, refused = samples.disconnected(), samples.refused()
    ledger.write([left, refused])
    row = ledger.decision(left.call.decision_id).row
    assert (row["cost"], row["input_tokens"], row["status"]) == (None, None, 499)
    assert ledger.decision(refused.call.decision_id).plan is None


def test_hostile_usage_is_not_stored(ledger: SqliteLedger) -> None:
    """Negative and absurd counts are unknown, and do not break the group they are in."""
    record = samples.plain()
    record.attempts[0].usage = samples.Usage(-5, 10**30)
    ledger.write([record, samples.plain()])
    row = ledger.decision(record.call.decision_id).row
    assert (row["input_tokens"], row["output_tokens"]) == (None, None)
    assert ledger.lost == 0


def test_a_call_written_twice_is_one_row(ledger: SqliteLedger) -> None:
    """The decision id is the key."""
    record = samples.plain()
    ledger.write([record, record])
    ledger.write([record])
    assert len(ledger.run("run-7")) == 1


def test_a_run_is_its_calls_in_order(ledger: SqliteLedger) -> None:
    """By the moment they began; a run nobody named, or an empty name, is nobody's."""
    records = [samples.plain() for _ in range(3)]
    other = samples.record(samples.call(identity=Identity(agent="bugbot")), [samples.attempt()])
    ledger.write([records[2], other, records[0], records[1]])
    assert [found.decision_id for found in ledger.run("run-7")] == [record.call.decision_id for record in records]
    assert ledger.run("") == ()
    assert ledger.run("run-8") == ()
    assert ledger.latest_run() == "run-7"


def test_equal_plans_are_stored_once(ledger: SqliteLedger) -> None:
    """Ten calls by one plan, made anew each time, are ten rows and one plan."""
    ledger.write([replace(samples.plain(), plan=replace(samples.PLAN)) for _ in range(10)])
    connection = sqlite3.connect(ledger.path)
    assert connection.execute("SELECT count(*) FROM plans").fetchone() == (1,)
    assert connection.execute("SELECT count(*), count(plan) FROM calls").fetchone() == (10, 10)
    connection.close()


def test_an_outcome_is_stored_once(ledger: SqliteLedger) -> None:
    """The same report again is a duplicate; another source, or another key, is not."""
    ledger.write([samples.plain()])
    report = Report("run", "run-7", {"tests_pass": 1.0}, step="edit")
    first, again = ledger.record_outcome(report), ledger.record_outcome(report)
    assert (first.stored, first.duplicate) == (1, False)
    assert (again.stored, again.duplicate, again.served) == (0, True, ())
    assert ledger.record_outcome(replace(report, source="judge")).stored == 1


def test_a_key_makes_a_report_idempotent(ledger: SqliteLedger) -> None:
    """With a key, the key alone decides."""
    report = Report("run", "run-7", {"tests_pass": 1.0}, key="k1")
    assert ledger.record_outcome(report).stored == 1
    assert ledger.record_outcome(replace(report, outcomes={"tests_pass": 0.0})).duplicate
    assert ledger.record_outcome(replace(report, key="k2")).stored == 1


def test_an_outcome_names_the_calls_it_speaks_about(ledger: SqliteLedger) -> None:
    """A step's outcome speaks of that step's served calls in the run; a decision's, of one call."""
    edit = samples.plain()
    plan = samples.record(samples.call(identity=edit.call.identity._replace(step="plan")), [samples.attempt()])
    ledger.write([edit, plan, samples.disconnected()])
    stored = ledger.record_outcome(Report("run", "run-7", {"tests_pass": 1.0}, step="edit"))
    assert [(one.step, one.model) for one in stored.served] == [("edit", "gpt-5-mini")]
    one = ledger.record_outcome(Report("decision", plan.call.decision_id, {"useful": 0.5}))
    assert [served.decision_id for served in one.served] == [plan.call.decision_id]


def test_an_outcome_stands_beside_the_calls_it_speaks_about(ledger: SqliteLedger) -> None:
    """Outcomes of the run without a step, of its step, and of the call itself; not those of another step."""
    record = samples.plain()
    ledger.write([record])
    for scope, which, step, name in (
        ("run", "run-7", "", "solved"),
        ("run", "run-7", "edit", "tests_pass"),
        ("run", "run-7", "plan", "sound"),
        ("decision", record.call.decision_id, "", "useful"),
    ):
        ledger.record_outcome(Report(scope, which, {name: 1.0}, step=step))
    assert set(ledger.decision(record.call.decision_id).quality) == {"solved", "tests_pass", "useful"}


def test_statistics_survive_a_restart(tmp_path: Path) -> None:
    """What one process saved, the next one loads; the newest snapshot replaces the one before."""
    path = tmp_path / "ledger.sqlite"
    first = SqliteLedger(path)
    assert first.load_statistics() is None
    first.save_statistics({"n": 1})
    first.save_statistics({"n": 2, "steps": {"edit": [1.5, None]}})
    first.close()
    second = SqliteLedger(path)
    assert second.load_statistics() == {"n": 2, "steps": {"edit": [1.5, None]}}
    second.close()


def test_the_state_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Folder 0700, file 0600."""
    made = open_ledger(samples.config(str(tmp_path / ".fw")))
    assert stat.S_IMODE((tmp_path / ".fw").stat().st_mode) == 0o700
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    made.close()


def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """Rows are there after SIGKILL, without any goodbye."""
    script = """
import os, signal, sys
from fw_gateway.ledger import SqliteLedger
from tests.telemetry import samples
ledger = SqliteLedger(sys.argv[1])
ledger.write([samples.plain() for _ in range(20)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "ledger.sqlite"
    root = str(Path(__file__).parents[2])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    ran = subprocess.run([sys.executable, "-c", script, str(path)], env=environ, timeout=60, check=False)
    assert ran.returncode == -9
    found = SqliteLedger(path)
    assert len(found.run("run-7")) == 20
    found.close()


def test_a_full_disk_loses_rows_not_the_process(ledger: SqliteLedger, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that do not fit are counted and spoken of once; when there is room again, rows and their plans are kept again."""
    connection = ledger._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            ledger.write([samples.plain() for _ in range(200)])
    assert ledger.lost == 400
    assert len(caplog.records) == 1
    connection.execute("PRAGMA max_page_count=1000000")
    record = samples.plain()
    ledger.write([record])
    assert ledger.decision(record.call.decision_id).plan == samples.PLAN


def test_a_ledger_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    """It says what is wrong and what to do; the file is left as it is."""
    path = tmp_path / "ledger.sqlite"
    SqliteLedger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO migrations VALUES (99, 0)")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match=r"schema version 99.*Move it aside"):
        SqliteLedger(path)


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """Whatever it is, it is not overwritten."""
    path = tmp_path / "ledger.sqlite"
    path.write_text("shopping list " * 100)
    with pytest.raises(LedgerError, match="not a database"):
        SqliteLedger(path)
    assert path.read_text().startswith("shopping list")


def test_a_state_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """The message names the variable to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="FW_STATE_DIR"):
        SqliteLedger(tmp_path / "file" / "ledger.sqlite")


def test_readers_and_the_writer_do_not_wait_for_each_other(ledger: SqliteLedger) -> None:
    """Four threads read while one writes; nobody fails and every row is there at the end."""
    failures: list[Exception] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                ledger.run("run-7")
            except LedgerError as fault:
                failures.append(fault)

    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        ledger.write([samples.plain() for _ in range(5)])
    over.set()
    for reader in readers:
        reader.join(30)
    assert not failures
    assert len(ledger.run("run-7")) == 100
