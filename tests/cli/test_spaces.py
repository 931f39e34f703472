"""How many plans a step has: what is possible, what rules allow, what is known, and what is worth mixing."""

from fw_gateway.cli.spaces import counted, of_steps
from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.model import Facts, Target, TokenPrice, World
from fw_policies.spec import parse

POLICY = parse({
    "policy": "p", "baseline": "m0", "quality": {"outcome": "ok", "of": "step"},
    "default": {"minimize": "cost", "require": ["quality >= 90% of baseline"]},
    "steps": {"hard": {"effort": ["low", "medium"]}, "sure": {"verify": "not_empty"}, "here": {"data": {"regions": ["eu"]}}},
})  # fmt: skip
TARGETS = tuple(
    Target(f"m{m}", f"m{m}@{p}", "x", f"m{m}", price=TokenPrice(10**8, 10**9), region="eu" if p == "a" else "us")
    for m in range(3)
    for p in "ab"
)


def world(steps: tuple[str, ...] = ()) -> World:
    seen = Statistics()
    for step in steps:
        for place, target in enumerate(TARGETS[:4]):
            for _ in range(30):
                about = Observation("p", step, target.model, target.deployment, ok=True, latency=1.0 + place)
                seen.observe(about._replace(input_tokens=100, output_tokens=20))
                seen.outcome(OutcomeSeen("p", step, target.model, "ok", 1.0))
    return World(TARGETS, {}, seen.freeze(), "2026-11-23")


def test_of_six_deployments_of_three_models_there_are_thirty_plans_without_checks() -> None:
    found = counted(POLICY, Facts("p", "edit"), world())
    assert (found.possible, found.allowed, found.known) == (6 + 24, 30, 0)


def test_checks_make_cascades_and_efforts_multiply() -> None:
    assert counted(POLICY, Facts("p", "sure"), world()).possible == 6 + 24 + 48
    assert counted(POLICY, Facts("p", "hard"), world()).possible == 12 + 12 * 8


def test_a_hard_rule_takes_plans_away_before_anything_is_worked_out() -> None:
    found = counted(POLICY, Facts("p", "here"), world())
    assert (found.possible, found.allowed) == (30, 3 + 6)


def test_what_has_estimates_is_counted_apart_and_only_what_nothing_beats_is_kept() -> None:
    """Two models at two places each; all always right, so that one place is cheapest and quickest."""
    found = counted(POLICY, Facts("p", "edit"), world(("edit",)))
    assert (found.allowed, found.known) == (30, 4 + 8)
    assert found.worked_out == found.known
    assert 1 <= found.kept < found.known


def test_what_was_never_called_is_not_counted() -> None:
    assert of_steps(POLICY, (), world()) == {}
