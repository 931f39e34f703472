"""A step by text: the lock says what a text is worth to each arm, and the arm is chosen, not drawn."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_policies import draw
from fw_policies.by_text import SIZE, ByText, Reads, from_dict, to_dict
from fw_policies.explain import mapping, text
from fw_policies.lock import Arm, LockedStep, Unfit
from fw_policies.lock import from_dict as lock_from
from fw_policies.lock import to_dict as lock_to
from fw_policies.model import Plan
from fw_policies.rules import explore
from tests.policies.test_locks import PROOF, decide, lock

HERE = "0badcafe"
ONES, NOTHING = bytes([1] * SIZE), bytes(SIZE)
RULE = ByText(HERE, 1000.0, 0.12, (Reads(0.5, 10.0, 0.01, (1,) * SIZE), Reads(0.9, 100.0, 0.01, (-1,) * SIZE)))
STEP = LockedStep((Arm(("small",), 0.6), Arm(("big",), 0.4)), PROOF, by_text=RULE)


def plan(embedding: str = HERE) -> Plan:
    return decide(lock(edit=STEP), embedding=embedding)


def test_a_text_gets_the_arm_that_is_worth_its_cost() -> None:
    """Quality 1.78 at 10 against −0.38 at 100; and of a text that says nothing, 0.5 against 0.9."""
    assert RULE.choose(ONES) == 0
    assert RULE.choose(NOTHING) == 1
    assert replace(RULE, price=100.0).choose(NOTHING) == 0


def test_the_arm_is_chosen_for_sure_and_the_rule_stays_with_it() -> None:
    found = plan()
    assert found.strategy == "mixture"
    for said, model in ((ONES, "small"), (NOTHING, "big")):
        chosen = draw.arm_by_text(found, said)
        assert (chosen.targets[0].model, chosen.propensity, chosen.arms) == (model, 1.0, ())
        assert chosen.by_text == replace(RULE, reads=())
        assert "by the text" in chosen.notes[-1].text
        again = draw.arm_again(found, draw.name(chosen))
        assert again == chosen
    assert draw.arm_again(found, "another") is None


def test_a_plan_that_is_not_by_text_is_its_own() -> None:
    other = decide(lock(edit=LockedStep((Arm(("small",)),), PROOF)))
    assert draw.arm_by_text(other, ONES) is other


@pytest.mark.parametrize("embedding", ["", "deadbeef"])
def test_another_embedding_means_nothing_and_the_baseline_serves(embedding: str) -> None:
    found = plan(embedding)
    assert found.targets[0].model == "big"
    assert found.by_text is None
    said = next(note.text for note in found.notes if note.rule == "lock")
    assert f"made with the text embedding {HERE}, and {embedding or 'none'} is here" in said


def test_explain_says_what_each_arm_is_expected_to_get_and_what_texts_add() -> None:
    said = text(mapping(plan(), decision_id="d"))
    assert "BY TEXT" in said
    assert "0.6 of calls, as expected" in said
    assert "texts remove 12.0% of the error of the step's means" in said
    chosen = text(mapping(draw.arm_by_text(plan(), ONES), decision_id="d"))
    assert "arm 1 of 2, by the text that it began with" in chosen


def test_what_is_explored_beside_it_says_that_its_step_is_by_text() -> None:
    found = plan()
    assert explore.trial(found, found.targets[0]).by_text is not None


def test_a_lock_keeps_it_to_the_last_digit() -> None:
    found = lock_from(lock_to(lock(edit=STEP)))
    assert found.steps["edit"] == STEP
    assert found.digest == lock(edit=STEP).digest
    assert len(lock_to(found)["steps"]["edit"]["by_text"]["arms"][0]["weights"]) == 172


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda rule: rule["arms"].pop(), "each of its arms"),
        (lambda rule: rule["arms"][0].update(weights="AAAA"), "128 numbers, not 3"),
        (lambda rule: rule["arms"][0].update(weights="?"), "cannot be read"),
        (lambda rule: rule.pop("price_nano_usd"), "price_nano_usd"),
    ],
)
def test_a_lock_that_contradicts_itself_is_no_lock(broken: object, why: str) -> None:
    plain = lock_to(lock(edit=STEP))
    broken(plain["steps"]["edit"]["by_text"])  # type: ignore[operator]
    with pytest.raises(Unfit, match=why):
        lock_from(plain)


NUMBERS = st.lists(st.integers(-127, 127), min_size=SIZE, max_size=SIZE)
MONEY = st.floats(0, 1e9, allow_nan=False)
READS = st.builds(Reads, st.floats(-1, 2), MONEY, st.floats(0, 0.1), NUMBERS.map(tuple))


@settings(deadline=None)
@given(
    st.builds(ByText, st.just(HERE), MONEY, st.floats(0, 1), st.lists(READS, min_size=1, max_size=4).map(tuple)),
    NUMBERS,
)
def test_a_rule_survives_the_file_and_chooses_the_least(rule: ByText, numbers: list[int]) -> None:
    said = bytes(number & 0xFF for number in numbers)
    assert from_dict(to_dict(rule)) == rule
    chosen = rule.choose(said)
    paid = [
        one.cost
        - rule.price * (one.quality + one.scale * sum(w * x for w, x in zip(one.weights, numbers, strict=True)))
        for one in rule.reads
    ]
    assert paid[chosen] == min(paid)
