"""Public priors order what is tried first, and prove nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from fw_gateway.catalog import priors
from fw_gateway.catalog.build_priors import fitted
from fw_gateway.state import Worlds
from fw_policies.estimate import Statistics
from fw_policies.model import Facts, TokenPrice
from tests.gateway.conftest import config_of, endpoint

FACTS = Facts(agent="bot", step="edit", input_tokens=100, max_output_tokens=100)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("anthropic/claude-opus-4.5", "claude-opus-4-5"),
        ("Claude-Opus-4-5-20251101 (FC)", "claude-opus-4-5"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"),
        ("deepseek-v3.2:free", "deepseek-v3-2"),
    ],
)
def test_a_model_is_known_by_whatever_name_a_provider_gives_it(said: str, found: str) -> None:
    assert priors.canonical(said) == found
    assert ("*", found) in priors.table()


def test_every_prior_is_a_share_and_strong_models_are_before_weak_ones() -> None:
    table = priors.table()
    assert all(0 < quality < 1 for quality in table.values())
    assert table["coding", "claude-opus-4-5"] > table["coding", "gpt-4o-mini"]
    assert table["*", "gpt-5"] > table["*", "gpt-5-nano"]


def test_a_model_that_only_took_hard_tests_is_not_thought_weak() -> None:
    """Both models are ten points above the usual at what they took: one at an easy test, one at a hard one."""
    scores = [("f", "easy", f"m{number}", 0.8) for number in range(9)]
    scores += [("f", "hard", f"m{number}", 0.2) for number in range(9)]
    found = fitted([*scores, ("f", "easy", "a", 0.9), ("f", "hard", "b", 0.3)])
    assert found["a"] == pytest.approx(found["b"], abs=0.01)
    assert found["a"] > found["m0"]


def test_what_is_tried_follows_the_prior_of_its_family_and_nothing_is_proven_by_it(tmp_path: Path) -> None:
    """The baseline serves; a model with a high prior is tried more often than one with a low prior, and than one that nobody knows."""
    places = []
    for name, upstream in (
        ("base", "x"),
        ("strong", "claude-opus-4-5"),
        ("weak", "gpt-4o-mini"),
        ("own", "our-finetune"),
    ):
        one = endpoint(name, "here", "http://127.0.0.1:1", upstream)
        places.append(replace(one, target=replace(one.target, price=TokenPrice(10**9, 10**9), max_output=100)))
    limits = {"share": "20%", "max_cost": "1 USD/day", "max_quality_loss": "5pt"}
    quality = {"outcome": "passed", "of": "step"}
    text = {"baseline": "base", "quality": quality, "default": {"require": ["quality >= 50%"]}, "explore": limits}
    config = config_of(tmp_path, *places, policies={"coding-bot": text})
    worlds = Worlds(config, Statistics())
    plan = worlds.plan(config.policies["coding-bot"], FACTS)
    assert (plan.targets[0].model, plan.reason) == ("base", "baseline")
    assert {c.target.model: c.excluded for c in plan.candidates if c.target.model != "base"} == dict.fromkeys(
        ("strong", "weak", "own"), "unknown"
    )
    assert plan.exploration is not None
    weights = {target.model: weight for weight, target in plan.exploration.trials}
    assert weights["strong"] > weights["own"] > weights["weak"]
    ranks = {candidate.target.model: candidate.rank for candidate in plan.candidates}
    assert ranks == {
        "base": None,
        "strong": priors.table()["coding", "claude-opus-4-5"],
        "weak": priors.table()["coding", "gpt-4o-mini"],
        "own": None,
    }
