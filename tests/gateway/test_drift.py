"""What was learnt or certified ends when the world moves: soon, seldom in vain, over restarts, and EXPLAIN says so."""

import logging
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fw_gateway.config import Config
from fw_gateway.state import Judged, Worlds
from fw_gateway.values import Attempt, Call, Identity, Record, Trace
from fw_policies.estimate import OutcomeSeen, Statistics
from fw_policies.lock import Arm, Certificate, Lock, LockedStep
from fw_policies.model import Facts, Plan
from tests.gateway.conftest import config_of, endpoint

FACTS = Facts(agent="coding", step="edit", input_tokens=100)
TODAY = "2026-11-23"


def config(folder: Path, *require: str, of: str = "step", **more: object) -> Config:
    """Models `base`, `weak` and a lock that lets `weak` serve, certified at 0.9."""
    quality = {"outcome": "passed", "of": of}
    text = {"baseline": "base", "quality": quality, "default": {"minimize": "cost", "require": list(require)}, **more}
    dear, cheap = endpoint("base", "here", "http://127.0.0.1:1"), endpoint("weak", "here", "http://127.0.0.1:1")
    found = config_of(folder, dear, cheap, policies={"p": text})
    certificate = Certificate("quality >= 85%", "passed", of, 0.9, 0.9, 0.05, 300, "2999-01-01")
    steps = {"edit": LockedStep((Arm(("weak",)),), certificate)}
    lock = Lock("p", found.policies["p"].digest, "base", TODAY, "d", TODAY, TODAY, "", 0, steps)
    return replace(found, locks={"p": lock})


def plan(worlds: Worlds, folder: Config) -> Plan:
    worlds._taken = -10.0
    return worlds.plan(folder.policies["p"], FACTS)


def notes(found: Plan) -> str:
    return "\n".join(note.text for note in found.notes)


def report(worlds: Worlds, value: float, *, model: str = "weak", explored: bool = False, of: str = "step") -> None:
    worlds.certified([Judged("p", "edit", model, explored)], {"passed": value}, of=of)


def test_a_certificate_is_void_within_twenty_outcomes_of_a_broken_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock serves, then every outcome fails: the baseline is back, EXPLAIN and the log say why; a new process knows it too."""
    found = config(tmp_path, "quality >= 85%")
    worlds = Worlds(found, Statistics())
    rng = random.Random(1)
    for _ in range(200):
        report(worlds, float(rng.random() < 0.92))
    assert plan(worlds, found).targets[0].model == "weak"
    calls = 0
    with caplog.at_level(logging.WARNING, "fw.drift"):
        while plan(worlds, found).targets[0].model == "weak" and calls < 50:
            report(worlds, 0.0)
            calls += 1
    assert calls < 20, calls
    said = plan(worlds, found)
    assert (said.targets[0].model, said.reason, said.certificate) == ("base", "baseline", None)
    assert "falls short of the certified 0.900" in notes(said)
    assert len(caplog.records) == 1
    saved = worlds.to_dict()
    again = Worlds(found, Statistics.from_dict(saved), saved["drift"])
    assert plan(again, found).targets[0].model == "base"


def test_a_new_lock_begins_without_the_old_ones_alarms_and_a_rollback_to_the_old_one_does_not(tmp_path: Path) -> None:
    found = config(tmp_path, "quality >= 85%")
    worlds = Worlds(found, Statistics())
    for _ in range(20):
        report(worlds, 0.0)
    saved = worlds.to_dict()
    old = found.locks["p"]
    fresh = replace(found, locks={"p": replace(old, data="newer")})
    later = Worlds(fresh, Statistics.from_dict(saved), saved["drift"])
    assert plan(later, fresh).targets[0].model == "weak"
    back = Worlds(found, Statistics(), later.to_dict()["drift"])
    assert plan(back, found).targets[0].model == "base"


@pytest.mark.parametrize(
    "unheard",
    [
        {"model": "base"},
        {"explored": True},
        {"of": "run"},
    ],
)
def test_outcomes_of_others_of_explored_calls_and_of_whole_runs_say_nothing_about_a_steps_certificate(
    tmp_path: Path, unheard: dict[str, object]
) -> None:
    found = config(tmp_path, "quality >= 85%")
    worlds = Worlds(found, Statistics())
    for _ in range(40):
        report(worlds, 0.0, **unheard)  # type: ignore[arg-type]
    assert plan(worlds, found).targets[0].model == "weak"


def test_a_certificate_of_runs_ends_by_the_outcomes_of_runs(tmp_path: Path) -> None:
    found = config(tmp_path, "quality >= 85%", of="run")
    worlds = Worlds(found, Statistics())
    for _ in range(20):
        report(worlds, 0.0, of="run")
    assert plan(worlds, found).targets[0].model == "base"


def test_outcomes_as_certified_raise_an_alarm_in_less_than_one_of_twenty_worlds(tmp_path: Path) -> None:
    """80 worlds of 400 outcomes, exactly at what was certified: for the lock, and for what statistics learnt."""
    found, rng, false = config(tmp_path), random.Random(2), 0
    for _ in range(80):
        worlds = Worlds(found, Statistics())
        for _ in range(400):
            value = float(rng.random() < 0.9)
            report(worlds, value)
            worlds.outcome(OutcomeSeen("coding", "edit", "weak", "passed", value))
        false += bool(worlds._watch.voids or worlds._watch.said)
    assert false <= 4, false


def test_what_proved_a_model_is_void_within_twenty_outcomes_of_its_breaking(tmp_path: Path) -> None:
    """Proven by 400 outcomes, then it fails: statistics that never forget would have needed 33, and more after more of them."""
    found = replace(config(tmp_path, "quality >= 85%"), locks={})
    worlds = Worlds(found, Statistics())
    rng = random.Random(3)
    for _ in range(400):
        worlds.outcome(OutcomeSeen("coding", "edit", "weak", "passed", float(rng.random() < 0.95)))
    assert plan(worlds, found).targets[0].model == "weak"
    calls = 0
    while plan(worlds, found).targets[0].model == "weak" and calls < 100:
        worlds.outcome(OutcomeSeen("coding", "edit", "weak", "passed", 0.0))
        calls += 1
    assert calls < 20, calls
    assert "what came before" in notes(plan(worlds, found))
    saved = worlds.to_dict()
    again = Worlds(found, Statistics.from_dict(saved), saved["drift"])
    assert plan(again, found).targets[0].model == "base"
    assert "fell below" in notes(plan(again, found))


def test_a_model_that_recovers_is_proven_anew_and_the_note_goes(tmp_path: Path) -> None:
    found = replace(config(tmp_path, "quality >= 85%"), locks={})
    worlds = Worlds(found, Statistics())
    for value in [1.0] * 100 + [0.0] * 20 + [1.0] * 300:
        worlds.outcome(OutcomeSeen("coding", "edit", "weak", "passed", value))
    said = plan(worlds, found)
    assert said.targets[0].model == "weak"
    assert "fell below" not in notes(said)


def call(model: str, found: Config, seconds: float) -> Record:
    """A finished call that took so long."""
    who = Identity(agent="coding", step="edit")
    one = Call("d", "r", "chat", "/v1", b"{}", {}, "auto", False, False, who, Trace("t"), "s", 0, 0.0, 600.0)
    target = next(each.target for each in found.endpoints if each.target.model == model)
    attempt = Attempt(1, "initial", target, "s", 0, 0.0, ended=seconds, outcome="success", status=200)
    return Record(one, attempts=[attempt])


def test_a_plan_leaves_a_deployment_that_became_five_times_slower_within_twenty_calls(tmp_path: Path) -> None:
    """Both were quick, and `weak` the quicker one; by windows of 256 calls alone it would have taken far longer."""
    rng = random.Random(4)
    worlds, found = latency_world(tmp_path, rng)
    assert plan(worlds, found).targets[0].model == "weak"
    assert quick_or_slow(worlds, found, 5.0, rng) <= 20
    assert re.search(r"latency became [4-6]\.\d times what was usual", notes(plan(worlds, found)))


def quick_or_slow(worlds: Worlds, found: Config, seconds: float, rng: random.Random, *, most: int = 200) -> int:
    """Calls of `weak` that take so long, until the plan is about another model; `most` when it never is."""
    before = plan(worlds, found).targets[0].model
    for number in range(most):
        worlds.observe(call("weak", found, seconds * rng.lognormvariate(0, 0.3)), {})
        if plan(worlds, found).targets[0].model != before:
            return number + 1
    return most


def latency_world(folder: Path, rng: random.Random) -> tuple[Worlds, Config]:
    """`weak` takes a second and serves, `base` takes one and a half; the limit is four."""
    text = {"baseline": "base", "default": {"minimize": "latency", "require": ["p95 latency <= 4s"]}}
    found = replace(config(folder), policies=config_of(folder, policies={"p": text}).policies, locks={})
    worlds = Worlds(found, Statistics())
    for _ in range(300):
        worlds.observe(call("base", found, 1.5 * rng.lognormvariate(0, 0.3)), {})
        worlds.observe(call("weak", found, 1.0 * rng.lognormvariate(0, 0.3)), {})
    return worlds, found


def test_a_deployment_that_recovers_is_believed_after_a_few_quick_calls_and_no_quicker_than_it_was(
    tmp_path: Path,
) -> None:
    rng = random.Random(5)
    worlds, found = latency_world(tmp_path, rng)
    before = estimated(worlds, found)
    assert quick_or_slow(worlds, found, 5.0, rng) <= 20
    assert quick_or_slow(worlds, found, 1.0, rng) <= 40
    assert estimated(worlds, found) >= before * 0.95


def estimated(worlds: Worlds, found: Config) -> float:
    """Mean latency of `weak`, in seconds."""
    outlook = next(one.outlook for one in plan(worlds, found).candidates if one.target.model == "weak")
    assert outlook.latency is not None
    return outlook.latency.mean


def test_a_deployment_that_became_slower_within_its_limit_is_still_proven(tmp_path: Path) -> None:
    """Almost twice as slow leaves room: the proof is moved, not thrown away."""
    rng = random.Random(6)
    worlds, found = latency_world(tmp_path, rng)
    for _ in range(60):
        worlds.observe(call("weak", found, 1.8 * rng.lognormvariate(0, 0.3)), {})
    weak = next(one for one in plan(worlds, found).candidates if one.target.model == "weak")
    assert weak.excluded == ""
    assert "times what was usual" in notes(plan(worlds, found))


def test_a_deployment_whose_calls_begin_to_fail_is_unknown_again(tmp_path: Path) -> None:
    rng = random.Random(7)
    worlds, found = latency_world(tmp_path, rng)
    for _ in range(40):
        record = call("weak", found, 1.0)
        if rng.random() < 0.5:
            record.attempts[0].outcome, record.attempts[0].status = "error", 500
        worlds.observe(record, {})
    weak = next(one for one in plan(worlds, found).candidates if one.target.model == "weak")
    assert weak.excluded != ""
    assert plan(worlds, found).targets[0].model == "base"


def test_a_certificate_whose_sample_was_all_right_is_not_void_by_one_wrong_answer(tmp_path: Path) -> None:
    """It promised 0.85 + 0.05, of a mean of 1.0 that was seen: outcomes that are right in 95 % of the calls keep that."""
    found = config(tmp_path, "quality >= 85%")
    step = found.locks["p"].steps["edit"]
    assert step.certificate is not None
    lock = replace(
        found.locks["p"], steps={"edit": replace(step, certificate=replace(step.certificate, quality=1.0, tested=60))}
    )
    found = replace(found, locks={"p": lock})
    worlds = Worlds(found, Statistics())
    for number in range(200):
        report(worlds, float(number % 20 != 0))
    assert plan(worlds, found).targets[0].model == "weak"
