"""The wire types: tolerant readers, and one truth with the producers of what they read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_policies import explain
from fw_policies.model import Estimates, Facts, World
from fw_policies.optimize import pinned
from fwsdk import Money
from fwsdk.types.chat import ChatCompletion
from fwsdk.types.explain import Plan, RunPlan


def test_an_explanation_has_the_keys_the_optimizer_writes() -> None:
    """None missing on either side."""
    plan = pinned(Facts(agent="coding", step="plan", model="nobody"), World((), {}, Estimates(), "2026-11-23"))
    mapped = explain.mapping(plan, decision_id="d")
    assert set(Plan.model_fields) == set(mapped)
    assert Plan.model_validate(mapped).model_dump() == mapped
    run = explain.run_mapping("r", "coding", [mapped])
    assert set(RunPlan.model_fields) == set(run)
    assert RunPlan.model_validate(run).model_dump() == run


def test_unknown_fields_are_kept_and_not_refused() -> None:
    """What a provider adds reaches the caller."""
    found = ChatCompletion.model_validate(
        {"choices": [{"message": {"content": "x", "reasoning": "r"}, "logprobs": None}], "service_tier": "flex"}
    )
    assert found.model_extra == {"service_tier": "flex"}
    assert found.choices[0].message.model_extra == {"reasoning": "r"}


@pytest.mark.parametrize(
    ("said", "nano", "shown"),
    [
        ("2 USD", 2_000_000_000, "$2.00"),
        ("$0.5", 500_000_000, "$0.5"),
        (0.0045, 4_500_000, "$0.0045"),
        (Decimal("0.000012"), 12_000, "$0.000012"),
        (3, 3_000_000_000, "$3.00"),
        (0, 0, "$0.00"),
        (None, None, "unknown"),
    ],
)
def test_money_is_read_and_shown(said: object, nano: int | None, shown: str) -> None:
    """Exact to a nano-dollar; unknown is not zero."""
    money = Money.of(said)  # type: ignore[arg-type]
    assert money.nano == nano
    assert str(money) == shown


@pytest.mark.parametrize("said", ["2 EUR", "-1", "", "two", "nan", "inf", "1 2", "$"])
def test_what_is_no_amount_is_refused(said: str) -> None:
    """With a message that shows how to write one."""
    with pytest.raises(ValueError, match="2 USD"):
        Money.of(said)


@given(st.integers(0, 10**15))
def test_money_survives_the_wire(nano: int) -> None:
    """What is written is what is read."""
    assert Money.of(Money(nano).plain() + " USD") == Money(nano)


def test_an_unknown_amount_cannot_be_compared() -> None:
    """Nobody may take it for little."""
    with pytest.raises(TypeError, match="unknown"):
        _ = Money(None) < Money(1)
    assert (Money(None) + Money(1)).nano is None
