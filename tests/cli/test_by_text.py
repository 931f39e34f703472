"""A lock by text from the ledger's calls: what counts, what does not, and what shared machines leave of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fw_gateway.catalog import text
from fw_gateway.cli import compiling
from fw_gateway.cli.compiling import Compiled, How, Log
from fw_gateway.ledger.history import Past
from fw_gateway.ledger.walks import Walk
from fw_policies.lock import from_dict, to_dict
from tests.cli.test_compiling import POLICY, START, config

PLACES = {"strong": "openai", "weak": "vllm"}
LINES = POLICY.replace("95% of", "90% of")


def log(count: int = 1600, *, digest: str | None = None) -> Log:
    """Runs of two kinds of texts by turns; the weak model is good at one of them."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(2, 128))
    kept = bytes.fromhex(text.digest() if digest is None else digest)
    past, walks = [], {}
    for number in range(count):
        kind, model = int(rng.integers(2)), ("strong", "weak")[number % 2]
        said = centre[kind] + 0.4 * rng.normal(size=128)
        said = np.clip(np.rint(said / np.linalg.norm(said) * 169), -127, 127).astype(np.int8)
        right = float(rng.random() < (0.95 if model == "strong" or kind == 0 else 0.3))
        cost = 4000 if model == "strong" else 1000
        one = Past(
            f"d{number}", "mine", "edit", f"d{number}", "", 1, (), "mine", "v", model, 0.5, cost, 1.0, 900, True,
            {"ok": right}, explored=model == "weak", text=kept + said.tobytes(),
        )  # fmt: skip
        past.append(one)
        how = Walk(START + number * 2, (model,), (), None, {f"{model}@{PLACES[model]}": 36})
        walks[one.decision_id] = how
    return Log(past, walks)


def made(folder: Path, found: Log, capacity: str = "") -> Compiled:
    settings = config(folder, capacity, LINES)
    return compiling.compiled(settings, settings.policies["mine"], found, How("2026-11-01"))


def test_the_weak_model_gets_the_texts_that_it_is_good_at(tmp_path: Path) -> None:
    found = made(tmp_path, log())
    step = found.lock.steps["edit"]
    assert step.by_text is not None
    assert step.by_text.embedding == text.digest()
    assert {arm.models[0]: round(arm.weight, 1) for arm in step.arms} == {"strong": 0.5, "weak": 0.5}
    assert sum(arm.weight for arm in step.arms) == pytest.approx(1.0)
    assert step.certificate is not None
    assert step.certificate.slack >= 0
    assert step.dual == pytest.approx(10 * step.by_text.price)
    assert step.saved is not None
    assert step.saved[1] < 0.37 < step.saved[2]
    assert any("by text: saves" in told for told in found.told["edit"])
    assert from_dict(to_dict(found.lock)).digest == found.lock.digest


def test_what_another_embedding_made_means_nothing(tmp_path: Path) -> None:
    found = made(tmp_path, log(digest="deadbeef"))
    assert found.lock.steps["edit"].by_text is None
    assert "edit" not in found.told


def test_what_a_text_was_given_is_no_sample_and_what_was_explored_beside_it_is(tmp_path: Path) -> None:
    """Half of the calls were served by an earlier lock by text: only those that it did not choose count."""
    whole = log()
    later = [replace(one, by_text=number >= 800) for number, one in enumerate(whole.past)]
    found = made(tmp_path, Log(later, whole.walks)).lock.steps["edit"]
    assert found.mix is not None
    assert sum(found.mix.calls.values()) == 800 + 400


def test_a_machine_that_has_room_for_a_part_of_the_rule_leaves_the_arms_to_chance(tmp_path: Path) -> None:
    found = made(tmp_path, log(), "5 tokens/s")
    step = found.lock.steps["edit"]
    assert step.by_text is None
    assert {arm.models[0] for arm in step.arms} == {"strong", "weak"}
    assert any("serves whole or not at all" in note for note in found.notes)
    assert found.lock.machines["weak@vllm"].load <= 5.001
    assert made(tmp_path, log(), "500 tokens/s").lock.steps["edit"].by_text is not None
