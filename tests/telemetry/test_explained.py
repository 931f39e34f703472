"""What the ledger remembers is explained as it was planned, with what became of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fw_gateway.ledger import Report, SqliteLedger, explained
from fw_policies import explain
from tests.telemetry import samples


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


def test_a_decision_is_explained_from_the_file_as_from_memory(ledger: SqliteLedger) -> None:
    """The plan that was stored explains itself as the plan that was made."""
    record = samples.fallback()
    ledger.write([record])
    found = ledger.decision(record.call.decision_id)
    assert found is not None
    mapping = explained.decision(found)
    fresh = explain.mapping(samples.PLAN, decision_id=record.call.decision_id, actual=found.actual)
    assert {key: mapping[key] for key in fresh} == fresh
    assert explain.text(mapping) == explain.text(fresh)
    assert record.call.decision_id in explain.text(mapping)


def test_an_outcome_shows_beside_the_plan(ledger: SqliteLedger) -> None:
    """Reported later, it is there the next time the call is explained."""
    record = samples.plain()
    ledger.write([record])
    ledger.record_outcome(Report("decision", record.call.decision_id, {"tests_pass": 1.0}))
    found = ledger.decision(record.call.decision_id)
    assert found is not None
    assert "tests_pass" in explain.text(explained.decision(found))


def test_a_run_is_explained_as_a_whole(ledger: SqliteLedger) -> None:
    """Every planned call of the run is in it."""
    records = [samples.plain(), samples.fallback(), samples.pinned()]
    ledger.write(records)
    mapping = explained.run("run-7", ledger.run("run-7"))
    text = explain.run_text(mapping)
    assert "run-7" in text
    assert text.count("gpt-5-mini") >= 1


def test_a_call_that_was_never_planned_is_explained_too(ledger: SqliteLedger) -> None:
    """It was refused: there is no plan, and its status says why."""
    record = samples.refused()
    ledger.write([record])
    found = ledger.decision(record.call.decision_id)
    assert found is not None
    mapping = explained.decision(found)
    assert mapping["plan"] is None
    assert mapping["actual"]["status"] == 404
