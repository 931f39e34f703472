"""Hedging as a conversation: what is opened when, and what is never opened; no clock, no sockets."""

from dataclasses import replace

import pytest

from fw_policies.estimate import Statistics
from fw_policies.flow import Failed, Open, Quiet, Wait, flow
from fw_policies.model import Facts, Plan, Target
from fw_policies.optimize import optimize
from fw_policies.spec import parse
from tests.policies.worlds import world

CAN = frozenset({"chat"})
A, B, C = (Target(name, f"{name}@{place}", "vllm", name, capabilities=CAN) for name, place in ("ma", "mb", "nc"))
PLAN = Plan("p", "v", "s", "minimize cost", "fall_back", "baseline", (A, C, B), hedge=True)


def failed(target: Target, *, retryable: bool = True) -> Failed:
    """News of a target that failed."""
    return Failed(target, "broken", retryable)


def test_what_answers_in_time_is_asked_alone() -> None:
    """The first is opened with patience; its content ends the walk, so nothing more is heard of it."""
    walk = flow(PLAN, hedge_after=0.4)
    assert next(walk) == Open(A, patience=0.4)
    walk.close()


def test_a_second_deployment_of_the_model_is_asked_beside_the_first() -> None:
    """Not the other model that comes next: an answer of that one would be another answer. Then both are waited for."""
    walk = flow(PLAN, hedge_after=0.4)
    next(walk)
    assert walk.send(Quiet()) == Open(B, hedge=True)
    assert walk.send(failed(B)) == Wait()
    assert walk.send(failed(A)) == Open(C)
    with pytest.raises(StopIteration):
        walk.send(failed(C))


def test_where_no_hedge_is_allowed_now_the_first_is_waited_for() -> None:
    """And when it fails, the second is a fallback like any other."""
    walk = flow(PLAN, hedge_after=0.4)
    next(walk)
    walk.send(Quiet())
    assert walk.send(Quiet()) == Wait()
    assert walk.send(failed(A)) == Open(C)
    assert walk.send(failed(C)) == Open(B)


def test_a_first_that_fails_at_once_is_followed_as_ever() -> None:
    """Nothing is hedged; a request that is itself at fault goes no further."""
    walk = flow(PLAN, hedge_after=0.4)
    next(walk)
    assert walk.send(failed(A)) == Open(C)
    walk = flow(PLAN, hedge_after=0.4)
    next(walk)
    with pytest.raises(StopIteration):
        walk.send(failed(A, retryable=False))


@pytest.mark.parametrize(
    ("plan", "after"),
    [(PLAN, None), (replace(PLAN, hedge=False), 0.4), (replace(PLAN, explored=True), 0.4)],
    ids=["unknown", "forbidden", "explored"],
)
def test_a_plan_is_not_hedged_without_leave_or_knowledge(plan: Plan, after: float | None) -> None:
    """Nobody knows how long is long, the policy does not allow it, or one attempt is all that was paid for."""
    assert next(flow(plan, hedge_after=after)) == Open(A)


def plan_of(*targets: Target, **rules: object) -> Plan:
    """The plan of a policy whose baseline is `m`."""
    policy = parse({"policy": "p", "baseline": "m", "default": {"allow": ["hedge"], **rules}})
    return optimize(policy, Facts(), world([*targets], Statistics()))


def test_a_policy_allows_it_and_explain_says_so() -> None:
    """Two deployments of the baseline: the note says what may happen."""
    plan = plan_of(A, B)
    assert plan.hedge
    assert "asked when the first is slow" in next(note.text for note in plan.notes if note.rule == "hedge")
    assert not plan_of(A, B, allow=[]).hedge


@pytest.mark.parametrize(
    ("targets", "rules", "why"),
    [
        ((A, C), {}, "no second deployment"),
        ((A, B), {"verify": "not_empty"}, "held until they are checked"),
        ((A, B), {"require": ["cost <= 0.01 USD"]}, "bounds each single call"),
    ],
)
def test_it_is_not_done_where_a_promise_would_break(
    targets: tuple[Target, ...], rules: dict[str, object], why: str
) -> None:
    """One deployment, held answers, or a hard cap on what one call may cost."""
    plan = plan_of(*targets, **rules)
    assert not plan.hedge
    assert why in next(note.text for note in plan.notes if note.rule == "hedge")
