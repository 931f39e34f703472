"""What a lock is made of: arms as they were walked, machines that all steps share, prices of what binds, and what the proof was like."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fw_gateway.cli import compiling
from fw_gateway.cli.compiling import Compiled, How, Log
from fw_gateway.config import Config
from fw_gateway.config.load import load
from fw_gateway.ledger.history import Past
from fw_gateway.ledger.walks import Walk
from fw_policies.lock import cell, coverage, from_dict, to_dict

MODELS = """
models:
  strong: {deployments: [{provider: openai, price: {input: 1 USD/Mtok, output: 4 USD/Mtok}}]}
  weak: {deployments: [{provider: vllm, url: "http://127.0.0.1:9/v1", machine_hour: 1 USD, CAPACITY}]}
policies: [mine.yaml]
"""
POLICY = """
policy: mine
baseline: strong
quality: {outcome: ok, of: step, confidence: 90%}
default: {minimize: cost, require: [quality >= 95% of baseline, p95 latency <= 10s]}
steps:
  checked: {verify: not_empty}
  hard: {effort: [low, medium, high]}
  best: {maximize: quality}
  sorted: {cases: [{when: label.kind == x, use: baseline}]}
"""


def config(folder: Path, capacity: str = "", policy: str = POLICY) -> Config:
    (folder / "mine.yaml").write_text(policy)
    path = folder / "fw.yaml"
    path.write_text(MODELS.replace(", CAPACITY", f", capacity: {capacity}" if capacity else ""))
    return load(str(path), env={"OPENAI_API_KEY": "sk-test"})


@dataclass
class Ledger:
    """Runs of one call each, half of them drawn to the weak model; made in memory."""

    past: list[Past]
    walks: dict[str, Walk]

    def add(
        self, step: str, count: int, *, quality: Mapping[str, float] | None = None, hours: float = 1.0, **walk: object
    ) -> None:
        rng = np.random.default_rng(len(self.past))
        chances = quality or {"strong": 0.9, "weak": 0.93}
        for number in range(count):
            model = list(chances)[number % len(chances)]
            name = f"{step}-{number}"
            one = Past(
                name, "mine", step, name, "", 1, (("kind", "y"),), "mine", "v", model, 0.5,
                4000 if model == "strong" else 1000, 1.0, 900, True, {"ok": float(rng.random() < chances[model])},
            )  # fmt: skip
            models = (model,) if model == "strong" else (model, "strong")
            how = Walk(START + number / count * hours * 3599, models, (), None, {f"{model}@{PLACES[model]}": 36})
            self.past.append(one)
            self.walks[name] = replace(how, **walk)  # type: ignore[arg-type]


START = 300 * 3600.0
"""The beginning of an hour."""
PLACES = {"strong": "openai", "weak": "vllm"}


@pytest.fixture
def ledger() -> Ledger:
    return Ledger([], {})


def made(found: Config, ledger: Ledger) -> Compiled:
    log = Log(ledger.past, ledger.walks)
    return compiling.compiled(found, found.policies["mine"], log, How("2026-11-01"))


def test_what_is_cheaper_and_as_good_serves_and_nothing_binds(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("edit", 3000)
    step = made(config(tmp_path), ledger).lock.steps["edit"]
    assert [(arm.models, arm.weight) for arm in step.arms] == [(("weak",), 1.0)]
    assert step.dual == pytest.approx(0.0)  # nothing is cheaper: a lower floor would save nothing
    assert step.saved is not None
    assert step.saved[1] <= 0.75 <= step.saved[2]


def test_a_floor_that_binds_has_the_price_of_a_point(tmp_path: Path, ledger: Ledger) -> None:
    """Two models, 0.25 of quality and 3,000 nano-USD apart: a point is 120 nano-USD a run, 120,000 per 1,000 runs."""
    ledger.add("edit", 8000, quality={"strong": 0.95, "weak": 0.7})
    found = made(config(tmp_path, policy=POLICY.replace("95% of", "85% of")), ledger).lock.steps["edit"]
    assert {arm.models[0] for arm in found.arms} == {"strong", "weak"}
    values = {name: [o.outcomes["ok"] for o in ledger.past if o.model == name] for name in ("strong", "weak")}
    apart = np.mean(values["strong"]) - np.mean(values["weak"])
    assert found.dual == pytest.approx(1000 * 0.01 * 3000 / apart, rel=1e-3)


def test_a_cascade_is_certified_as_it_was_walked(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("checked", 3000, verify=("not_empty",))
    step = made(config(tmp_path), ledger).lock.steps["checked"]
    assert [arm.models for arm in step.arms] == [("weak", "strong")]
    assert step.verify == ("not_empty",)


def test_what_was_walked_without_the_checks_of_now_proves_nothing(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("checked", 3000)
    step = made(config(tmp_path), ledger).lock.steps["checked"]
    assert not step.arms
    assert "under the step's checks" in step.reason


def test_an_effort_is_part_of_what_is_certified_and_others_are_not(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("hard", 3000, effort="medium")
    found = made(config(tmp_path), ledger)
    assert [(arm.models, arm.effort) for arm in found.lock.steps["hard"].arms] == [(("weak",), "medium")]
    assert any("low, high: not varied, so not certified" in text for text in found.told["hard"])


def test_what_misses_another_line_is_left_out_and_named(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("edit", 3000)
    ledger.past = [replace(one, latency=11.0) if one.model == "weak" else one for one in ledger.past]
    found = made(config(tmp_path), ledger)
    assert not found.lock.steps["edit"].arms
    assert any("weak" in text and "p95 latency <= 10s" in text for text in found.told["edit"])


def test_a_step_that_does_not_minimize_cost_is_declined(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("best", 3000)
    step = made(config(tmp_path), ledger).lock.steps["best"]
    assert not step.arms
    assert "maximize quality" in step.reason


def test_a_machine_that_is_too_small_is_shared_out_and_its_hour_has_a_price(tmp_path: Path, ledger: Ledger) -> None:
    """Two steps of 3,000 runs an hour at 36 tokens each: 30 tokens/s a step, where the machine writes 45 in all."""
    ledger.add("edit", 3000)
    ledger.add("plan", 3000)
    lock = made(config(tmp_path, "45 tokens/s"), ledger).lock
    shares = [{arm.models[0]: arm.weight for arm in step.arms} for step in lock.steps.values()]
    assert sum(share["weak"] for share in shares) == pytest.approx(1.5, abs=0.01)
    machine = lock.machines["weak@vllm"]
    assert machine.load == pytest.approx(45, rel=1e-3)
    # A token on it saves 3,000 nano-USD / 36; an hour of one more writes 45 × 3,600 tokens.
    assert machine.price == pytest.approx(3000 / 36 * 45 * 3600, rel=0.01)
    assert all(step.certificate is not None and step.certificate.slack >= 0 for step in lock.steps.values())
    roomy = made(config(tmp_path, "200 tokens/s"), ledger).lock
    assert [len(step.arms) for step in roomy.steps.values()] == [1, 1]
    assert roomy.machines["weak@vllm"].price == pytest.approx(0.0)
    assert roomy.machines["weak@vllm"].load == pytest.approx(60, rel=1e-3)


def test_what_others_do_on_a_machine_is_theirs(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("edit", 3000)
    other = Walk(START, ("weak",), (), None, {"weak@vllm": 3600 * 20})
    ledger.walks["pinned"] = other
    lock = made(config(tmp_path, "35 tokens/s"), ledger).lock
    weights = {arm.models[0]: arm.weight for arm in lock.steps["edit"].arms}
    assert weights["weak"] == pytest.approx(0.5, abs=0.01)
    assert lock.machines["weak@vllm"].load == pytest.approx(35, rel=1e-3)


def test_what_is_asked_beside_a_policy_s_own_calls_is_not_another_s_load(tmp_path: Path, ledger: Ledger) -> None:
    """It ends when the policy's plan is proven; what is asked beside calls of others stays theirs."""
    ledger.add("edit", 3000)
    beside = Walk(START, ("weak",), (), None, {"weak@vllm": 3600 * 20}, beside=ledger.past[0].decision_id)
    ledger.walks |= {"mine": beside, "theirs": replace(beside, beside="somebody else's")}
    lock = made(config(tmp_path, "35 tokens/s"), ledger).lock
    weights = {arm.models[0]: arm.weight for arm in lock.steps["edit"].arms}
    assert weights["weak"] == pytest.approx(0.5, abs=0.01)
    assert lock.machines["weak@vllm"].load == pytest.approx(35, rel=1e-3)


def test_a_machine_that_did_not_say_what_it_wrote_is_not_counted_on(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("edit", 3000)
    ledger.walks = {name: replace(walk, tokens=dict.fromkeys(walk.tokens)) for name, walk in ledger.walks.items()}
    step = made(config(tmp_path, "900 tokens/s"), ledger).lock.steps["edit"]
    assert not step.arms
    assert step.reason


def test_a_lock_says_what_its_data_was_like_and_how_much_of_today_it_covers(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("sorted", 3000)
    step = made(config(tmp_path), ledger).lock.steps["sorted"]
    assert step.mix is not None
    assert step.mix.labels == ("kind",)
    assert dict(step.mix.calls) == {"1024 kind=y": 3000}
    alike, other = (cell(size, (("kind", "y"), ("user", "z")), step.mix.labels) for size in (600, 9000))
    assert coverage(step, {alike: 71, other: 29}) == pytest.approx(0.71)
    assert coverage(step, {}) is None
    assert coverage(replace(step, mix=None), {alike: 1}) is None


def test_all_of_it_survives_the_file(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("checked", 3000, verify=("not_empty",))
    ledger.add("edit", 3000)
    lock = made(config(tmp_path, "45 tokens/s"), ledger).lock
    again = from_dict(to_dict(lock))
    assert again.digest == lock.digest
    assert again.steps["checked"].verify == ("not_empty",)
    assert again.steps["checked"].mix == lock.steps["checked"].mix
    assert again.machines["weak@vllm"].price == round(lock.machines["weak@vllm"].price) > 0
