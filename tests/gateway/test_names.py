"""Names that clients make up cost bounded memory."""

import json
from dataclasses import replace

from fw_gateway.state import world
from fw_policies.estimate import OutcomeSeen, Statistics
from tests.telemetry import samples


def test_steps_beyond_the_limit_are_counted_together(tmp_path, monkeypatch) -> None:
    """A client that names a new step each time fills a table once, not for ever; what was learnt counts as named."""
    monkeypatch.setattr(world, "STEPS", 3)
    worlds = world.Worlds(samples.config(str(tmp_path)), Statistics())
    for number in range(10):
        record = samples.plain()
        record.call.identity = type(record.call.identity)(agent="a", step=f"step-{number}")
        worlds.observe(record, {})
    assert worlds.statistics.steps() == {("a", "step-0"), ("a", "step-1"), ("a", "step-2"), ("", "*")}
    again = world.Worlds(samples.config(str(tmp_path)), Statistics.from_dict(worlds.statistics.to_dict()))
    record = samples.plain()
    record.call.identity = type(record.call.identity)(agent="b", step="new")
    again.observe(record, {})
    assert ("b", "new") not in again.statistics.steps()


def test_an_outcome_that_no_policy_names_is_not_learnt_from(tmp_path) -> None:
    """Clients may report what they like; statistics hold what some policy calls quality."""
    worlds = world.Worlds(samples.config(str(tmp_path)), Statistics())
    worlds.outcome(OutcomeSeen("a", "b", "m", "made_up", 1.0))
    assert worlds.statistics.steps() == set()
    assert not worlds.dirty


def test_names_of_models_that_are_passed_on_are_learnt_as_one(tmp_path) -> None:
    """Where any name is passed on to a server, the statistics are of the server, however many names clients make up."""
    worlds = world.Worlds(samples.config(str(tmp_path)), Statistics())
    for number in range(10):
        record = samples.plain()
        for attempt in record.attempts:
            attempt.target = replace(attempt.target, model=f"made-up-{number}", upstream_model=f"made-up-{number}")
        worlds.observe(record, {})
    assert "made-up" not in json.dumps(worlds.statistics.to_dict())
    assert worlds.statistics.steps()
