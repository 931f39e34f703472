"""Attempts are learnt from in small batches: nothing is lost by it, and no world is made without what was seen before."""

from pathlib import Path
from typing import Any

import pytest

from fw_gateway import clock
from fw_gateway.state import Worlds, world
from fw_gateway.state.shared import Shared
from fw_policies.estimate import Statistics
from fw_policies.model import Facts
from tests.telemetry import samples


def seen(worlds: Worlds, count: int, **changes: Any) -> None:
    """So many calls of one deployment end."""
    for _ in range(count):
        worlds.observe(samples.record(samples.call(), [samples.attempt(**changes)]), {})


def learnt(statistics: Statistics) -> int:
    """Calls whose latency the statistics hold."""
    return sum(each["n"] + each["beyond"] for each in statistics.to_dict()["latency"].values())


def test_a_full_batch_is_learnt_from_at_once(tmp_path: Path) -> None:
    """The last one of a batch brings in all of it, with nobody asking."""
    statistics = Statistics()
    worlds = Worlds(samples.config(str(tmp_path)), statistics)
    seen(worlds, world.TOGETHER - 1)
    assert learnt(statistics) == 0
    seen(worlds, 1)
    assert learnt(statistics) == world.TOGETHER


def test_whoever_reads_the_statistics_reads_all_that_was_seen(tmp_path: Path) -> None:
    """What is saved for the next process is complete, whatever the batch holds."""
    worlds = Worlds(samples.config(str(tmp_path)), Statistics())
    seen(worlds, 3)
    assert learnt(worlds.statistics) == 3
    seen(worlds, 2)
    saved = worlds.to_dict()
    assert learnt(Statistics.from_dict(saved)) == 5
    assert sum(each["calls"] for each in saved["drift"]["calls"].values()) == 5


def test_a_new_world_knows_of_the_last_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions are made in a world that is at most a second old: it has what ended before it was made, a single call too."""
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    worlds = Worlds(samples.config(str(tmp_path)), Statistics())
    facts = Facts(agent="bugbot", step="edit", model=samples.GPT.model)
    seen(worlds, 1)
    now += world.FRESH
    worlds.plan(None, facts)
    found = worlds.world.estimates.histogram("latency", facts, samples.GPT)  # type: ignore[attr-defined]
    assert found is not None
    assert found.n == 1


def test_what_fails_rests_at_once(tmp_path: Path) -> None:
    """Health is none of what can wait: the fifth failure in a row closes a deployment, whatever the batch holds."""
    worlds = Worlds(samples.config(str(tmp_path)), Statistics())
    circuit = worlds.deployments[samples.GPT.deployment].circuit
    seen(worlds, 4, outcome="error", error_type="503", status=503, usage=None)
    assert circuit.state == "closed"
    seen(worlds, 1, outcome="error", error_type="503", status=503, usage=None)
    assert circuit.state == "open"


def test_what_a_worker_adds_to_all_is_complete_and_added_once(tmp_path: Path) -> None:
    """An exchange takes what the batch holds; what ends while it goes on is added at the next one."""
    worlds = Worlds(samples.config(str(tmp_path)), Shared())
    seen(worlds, 3)
    taken = worlds.take()
    assert taken is not None
    together = taken[0].to(None, taken[1])
    seen(worlds, 2)
    worlds.renew(together)
    assert learnt(worlds.statistics) == 5
    again = worlds.take()
    assert again is not None
    assert learnt(Statistics.from_dict(again[0].to(together, again[1]))) == 5
