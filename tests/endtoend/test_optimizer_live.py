"""The example of the optimizer, run as it stands: the figures it writes are those of a real gateway before a paced upstream."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "optimizer_live.py"
WITHIN = {
    "day one, and the proof": 1200,
    "small costs ten times as much": 2,
    "its old price again": 2,
    "as compiled": 2,
    "small is five times slower": 150,
}
"""Calls after which the plan must have moved."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("live")
    command = [sys.executable, str(EXAMPLE), "--json", str(folder / "told.json")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FW_", "OTEL_"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, env=clean)
    assert (folder / "told.json").is_file(), done.stderr
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return {**found, "said": done.stdout}


@pytest.mark.parametrize("phase", WITHIN)
def test_the_plan_moves_when_it_must(told: dict[str, Any], phase: str) -> None:
    """By proof to the cheaper model, by price at once, and off a deployment that slows down."""
    moved = told["phases"][phase]["moved_after"]
    assert moved is not None, told["said"]
    assert moved <= WITHIN[phase]


def test_on_day_one_the_baseline_serves_and_nothing_unproven_does_outside_explore(told: dict[str, Any]) -> None:
    first = told["phases"]["day one, and the proof"]
    assert first["served"]["tiny"] == 0
    assert first["served"]["big"] >= 100
    assert first["explored"] > 0
    assert told["whole"]["unproven_outside_explore"] == 0


def test_what_is_required_holds_on_live_traffic(told: dict[str, Any]) -> None:
    """At least 80 % of the planned answers are right, surely enough to say so."""
    for phase in told["phases"].values():
        assert phase["interval"][1] >= 0.80
    assert told["phases"]["day one, and the proof"]["interval"][0] >= 0.80


def test_a_price_change_keeps_the_evidence_of_quality(told: dict[str, Any]) -> None:
    """Back at its old price the model serves again without another proof, and it is said what that saves."""
    again = told["phases"]["its old price again"]
    assert again["served"]["small"] > 0
    assert "saves" in again["text"]
    assert "quality" in again["text"].split("saves", 1)[1]


def test_a_certificate_that_was_compiled_serves_or_it_is_said_why_not(told: dict[str, Any]) -> None:
    """Not when the calls do not suffice for one, nor while a model of its mixture is not known to be quick enough."""
    compiled = told["phases"]["as compiled"]
    digest = compiled["lock"].split("lock ", 1)[1].split()[0]
    if "certified at 90%" not in compiled["lock"]:
        assert "big stays:" in compiled["lock"]
    elif f"lock {digest} does not serve this step" not in compiled["text"]:
        assert f"lock {digest}" in compiled["text"]
        assert "certified at 90%" in compiled["text"]
        assert "≥ 0.800" in compiled["text"], "the bound that was proven stands beside the floor that the policy names"
    assert compiled["served"]["big"] == 0


def test_a_slow_down_is_noticed_and_said(told: dict[str, Any]) -> None:
    last = told["phases"]["small is five times slower"]
    assert any("small@here: latency became" in line for line in last["drift"])
    assert "small@here: latency became" in last["text"]
