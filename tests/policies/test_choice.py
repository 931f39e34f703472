"""From a step's needs to a plan: who serves on the first day, what is proven later, and what never serves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.model import NANO_USD, Exclusion, Facts, MachinePrice, Plan, Target, TokenPrice, World
from fw_policies.optimize import names, optimize, pinned
from fw_policies.spec import parse

FACTS = Facts("a", "x", input_tokens=1000)


def target(model: str, price: float | None = 1.0, *, place: str = "one", **more: Any) -> Target:
    """A target whose tokens cost `price` USD per million, out four times in."""
    charged = None if price is None else TokenPrice(round(price * NANO_USD), round(4 * price * NANO_USD))
    return Target(
        **{"provider": place, "upstream_model": model, "price": charged, **more},
        model=model,
        deployment=f"{model}@{place}",
    )


BIG, SMALL, TINY = target("big", 10.0), target("small", 1.0), target("tiny", 0.1)


class Seen:
    """Statistics as calls would leave them."""

    def __init__(self) -> None:
        self.statistics = Statistics()

    def calls(
        self, model: str, count: int = 60, *, place: str = "one", latency: float = 1.0, tokens: int = 100
    ) -> "Seen":
        """`count` good calls."""
        one = Observation(
            "a", "x", model, f"{model}@{place}", True, latency / 2, latency, 1000, tokens, machine_seconds=latency
        )
        for _ in range(count):
            self.statistics.observe(one)
        return self

    def outcomes(self, model: str, good: int, count: int = 400) -> "Seen":
        """`count` outcomes, `good` of them 1."""
        for number in range(count):
            self.statistics.outcome(OutcomeSeen("a", "x", model, "ok", float(number < good)))
        return self


def plan(
    seen: Seen, *targets: Target, facts: Facts = FACTS, world: Mapping[str, Any] | None = None, **default: Any
) -> Plan:
    """The plan of a policy with these default lines, baseline `big`."""
    mapping = {
        "policy": "p",
        "baseline": "big",
        "quality": {"outcome": "ok", "of": "step"},
        "default": {"minimize": "cost", **default},
    }
    known = {"blocked": {}, "today": "2026-11-23", **(world or {})}
    return optimize(parse(mapping), facts, World(targets, estimates=seen.statistics.freeze(), **known))


def served(found: Plan) -> list[str]:
    """Deployments in order."""
    return [one.deployment for one in found.targets]


def excluded(found: Plan) -> dict[str, str]:
    """Model -> why it may not serve."""
    return {one.target.model: one.excluded for one in found.candidates}


NEEDS = ["quality >= 90% of baseline", "p95 latency <= 5s"]


def test_on_the_first_day_the_baseline_serves_and_the_plan_says_what_is_missing() -> None:
    """Nothing is proven, so nothing else does."""
    found = plan(Seen(), BIG, SMALL, TINY, require=NEEDS)
    assert (found.reason, served(found)) == ("baseline", ["big@one"])
    assert excluded(found)["small"] == "unknown"
    assert "56" in str(found.evidence["missing"])


def test_the_cheapest_model_that_is_proven_serves_and_the_others_follow() -> None:
    """Cheaper ones that are not proven do not, not even as a fallback."""
    seen = Seen().calls("big").calls("small").calls("tiny")
    seen.outcomes("big", 360).outcomes("small", 370).outcomes("tiny", 200)
    found = plan(seen, BIG, TINY, SMALL, require=NEEDS)
    assert (found.reason, served(found), found.strategy) == ("best_score", ["small@one", "big@one"], "fall_back")
    assert excluded(found)["tiny"] == "quality"


def test_too_few_calls_prove_nothing_however_good_they_were() -> None:
    """55 of the 56 that a 95th percentile needs."""
    seen = Seen().calls("small", 55)
    assert plan(seen, BIG, SMALL, require=["p95 latency <= 5s"]).reason == "baseline"
    assert served(plan(seen.calls("small", 1), BIG, SMALL, require=["p95 latency <= 5s"]))[0] == "small@one"


def test_a_99th_percentile_of_cost_is_not_proven_by_the_95th() -> None:
    """Three calls in a hundred were far dearer."""
    seen = Seen().calls("small", 970, tokens=10).calls("small", 30, tokens=1_000_000)
    assert served(plan(seen, BIG, SMALL, require=["p95 cost <= 0.01 USD"]))[0] == "small@one"
    assert excluded(plan(seen, BIG, SMALL, require=["p99 cost <= 0.01 USD"]))["small"] == "cost"


def test_a_hard_cap_counts_the_longest_answer_that_is_allowed() -> None:
    """And without a limit on the answer, or a price, the worst case is unknown."""
    seen = Seen().calls("small")
    capped = replace(SMALL, max_output=1000)
    assert excluded(plan(seen, BIG, capped, require=["cost <= 0.005 USD"]))["small"] == ""
    assert excluded(plan(seen, BIG, capped, require=["cost <= 0.0049 USD"]))["small"] == "cost"
    assert excluded(plan(seen, BIG, SMALL, require=["cost <= 1 USD"]))["small"] == "unknown"
    assert (
        excluded(plan(seen, BIG, target("small", None, max_output=9), require=["cost <= 1 USD"]))["small"] == "unknown"
    )


def test_a_self_hosted_call_costs_its_machine_seconds() -> None:
    """3.6 USD an hour is 0.001 USD a second."""
    hosted = target("small", None, self_hosted=True)
    found = plan(
        Seen().calls("small"),
        BIG,
        replace(hosted, price=MachinePrice(3_600_000_000)),
        require=["p95 cost <= 0.002 USD"],
    )
    assert served(found)[0] == "small@one"
    assert found.outlook.cost is not None
    assert found.outlook.cost.mean == pytest.approx(1_000_000)


def test_a_baseline_that_meets_every_requirement_is_neither_refused_nor_traded_for_less() -> None:
    """`otherwise` speaks only when nothing satisfies."""
    seen = Seen().calls("big").calls("small").outcomes("big", 390).outcomes("small", 100)
    for otherwise in ("refuse", "relax [quality]", "baseline"):
        found = plan(seen, BIG, SMALL, require=NEEDS, otherwise=otherwise)
        assert (found.reason, served(found)) == ("baseline", ["big@one"]), otherwise


def test_relax_gives_up_measures_in_order_until_something_is_proven() -> None:
    """And says which."""
    seen = Seen().calls("small", latency=9.0).outcomes("small", 390).outcomes("big", 390)
    lines = ["quality >= 90% of baseline", "p95 latency <= 5s"]
    found = plan(
        seen,
        SMALL,
        TINY,
        BIG,
        require=lines,
        otherwise="relax [latency, quality]",
        world={"blocked": {"big@one": "unhealthy"}},
    )
    assert served(found) == ["small@one"]
    assert any("given up: latency" in note.text for note in found.notes)


@pytest.mark.parametrize(
    ("changed", "facts", "blocked", "reason"),
    [
        ({"capabilities": frozenset({"chat"})}, {"needs": frozenset({"tools"})}, {}, "capability"),
        ({"context": 900}, {}, {}, "context_length"),
        ({"deprecated_on": "2026-11-23"}, {}, {}, "deprecated"),
        ({}, {}, {"big@one": "no_credential"}, "no_credential"),
        ({}, {}, {"big@one": "cooldown"}, "cooldown"),
        ({}, {"budget_left": 0}, {}, "over_budget"),
    ],
)
def test_the_baseline_is_subject_to_every_hard_rule(
    changed: Mapping[str, Any], facts: Mapping[str, Any], blocked: Mapping[str, Exclusion], reason: str
) -> None:
    """Then nothing serves, or the stand-in, marked as such, if no rule excludes it too."""
    one, able = replace(BIG, **changed), target("local", 0.0)
    world = {"blocked": blocked}
    found = plan(Seen(), one, facts=FACTS._replace(**facts), world=world)
    assert (found.reason, served(found), excluded(found)["big"]) == ("infeasible", [], reason)
    found = plan(Seen(), one, able, facts=FACTS._replace(**facts), world={**world, "stand_in": "local"})
    expected = ("infeasible", []) if reason == "over_budget" else ("degraded", ["local@one"])
    assert (found.reason, served(found)) == expected


def test_data_never_leaves_its_region_nor_our_own_machines() -> None:
    """An unknown region is not the right one."""
    ours = target("big", place="ours", region="eu", self_hosted=True)
    found = plan(
        Seen(), BIG, target("big", place="us", region="us"), ours, data={"regions": ["eu"], "self_hosted": True}
    )
    assert served(found) == ["big@ours"]
    assert {c.excluded for c in found.candidates} == {"region", ""}


def test_tags_and_exclusions_narrow_the_candidates() -> None:
    """By tag, by name, by pattern."""
    seen = Seen().calls("small").calls("tiny")
    tagged = replace(SMALL, tags=frozenset({"eu", "preview"}))
    for models, reason in (
        ({"tags": ["eu"]}, ""),
        ({"exclude": ["preview"]}, "policy"),
        ({"exclude": ["sm*"]}, "policy"),
    ):
        assert excluded(plan(seen, BIG, tagged, TINY, models=models, require=["p95 latency <= 5s"]))["small"] == reason


def test_fallbacks_leave_the_failure_domain_first() -> None:
    """The same provider comes last."""
    seen = Seen().calls("small", place="one").calls("tiny", place="one").calls("tiny", place="two")
    targets = [
        target("tiny", 0.1, place="one"),
        target("tiny", 0.2, place="two"),
        target("small", 1.0, place="one"),
        BIG,
    ]
    found = plan(seen, *reversed(targets), require=["p95 latency <= 5s"], failure_domains=2)
    assert served(found)[:2] == ["tiny@one", "tiny@two"]


def test_a_pinned_model_serves_from_its_deployments_without_any_test() -> None:
    """Resting ones only when there is no other; without a credential never."""
    two = target("big", place="two")
    world = World((BIG, SMALL, two), {"big@one": "cooldown"}, Statistics().freeze(), "2026-11-23")
    facts = FACTS._replace(model="big", needs=frozenset({"vision"}))
    assert (served(pinned(facts, world)), pinned(facts, world).reason) == (["big@two"], "pinned")
    world = replace(world, blocked={"big@one": "cooldown", "big@two": "no_credential"})
    assert served(pinned(facts, world)) == ["big@one"]
    world = replace(world, blocked={"big@one": "no_credential", "big@two": "no_credential"})
    assert (served(pinned(facts, world)), pinned(facts, world).reason) == ([], "infeasible")


MODELS = ("big", "small", "tiny", "other")
KNOWN = st.fixed_dictionaries(
    {model: st.tuples(st.sampled_from([0, 30, 60, 200]), st.floats(0.1, 20), st.integers(0, 100)) for model in MODELS}
)
PRICES = st.fixed_dictionaries({model: st.none() | st.integers(1, 100) for model in MODELS})


def learnt(known: Mapping[str, tuple[int, float, int]]) -> Seen:
    """Statistics from (calls, latency, good outcomes of 100) by model."""
    seen = Seen()
    for model, (calls, latency, good) in known.items():
        seen.calls(model, calls, latency=latency)
        if calls:
            seen.outcomes(model, good, 100)
    return seen


@settings(deadline=None)
@given(known=KNOWN, prices=PRICES, order=st.permutations(MODELS), scale=st.sampled_from([1, 10, 1000]))
def test_neither_the_order_of_candidates_nor_the_scale_of_money_changes_the_plan(
    known: Mapping[str, tuple[int, float, int]], prices: Mapping[str, int | None], order: list[str], scale: int
) -> None:
    """What serves, in which order, and why."""
    seen = learnt(known)
    one = [target(model, prices[model]) for model in MODELS]
    two = [target(model, None if (price := prices[model]) is None else price * scale) for model in order]
    first, second = plan(seen, *one, require=NEEDS), plan(seen, *two, require=NEEDS)
    assert (served(first), first.reason) == (served(second), second.reason)


@settings(deadline=None)
@given(known=KNOWN, prices=PRICES, limit=st.integers(1, 20))
def test_a_tighter_requirement_never_makes_a_proven_plan_cheaper(
    known: Mapping[str, tuple[int, float, int]], prices: Mapping[str, int | None], limit: int
) -> None:
    """It can only take choices away; and every target of a plan is one that was offered and not excluded."""
    seen, targets = learnt(known), [target(model, prices[model]) for model in MODELS]
    found = {
        factor: plan(seen, *targets, require=["quality >= 50%", f"p95 latency <= {limit * factor}s"])
        for factor in (1, 2)
    }
    for one in found.values():
        assert set(one.targets) <= set(targets)
        allowed = {c.target for c in one.candidates if not c.excluded or c.target.model == "big"}
        assert set(one.targets) <= allowed
    tight, loose = found[1], found[2]
    if tight.reason == loose.reason == "best_score" and tight.outlook.cost and loose.outlook.cost:
        assert tight.outlook.cost.mean >= loose.outlook.cost.mean


def test_an_observer_sees_the_plan_after_every_rule() -> None:
    """In the order of the rules."""
    told: list[str] = []
    world = World((BIG,), {}, Statistics().freeze(), "2026-11-23")
    optimize(parse({"policy": "p", "baseline": "big"}), FACTS, world, observe=lambda name, _: told.append(name))
    assert tuple(told) == names()
