"""The policy language: what it reads, what it refuses, and that it prints what it read."""

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from fw_policies.model import NANO_USD, Facts
from fw_policies.spec import PolicyError, check, parse, show
from fw_policies.spec.units import money, points, seconds, share

BUILTIN = [item for item in resources.files("fw_policies").joinpath("builtin").iterdir() if item.name.endswith(".yaml")]


def _read(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


def _refused(**more: object) -> str:
    with pytest.raises(PolicyError) as fault:
        parse({"policy": "p", "baseline": "b", **more})
    assert fault.value.problems
    return str(fault.value)


def test_amounts_are_read_with_their_units() -> None:
    """Money becomes nano-USD, durations seconds, shares and points fractions of one."""
    assert (money("0.05 USD"), money("$2"), money("0.0000000004 USD")) == (50_000_000, 2 * NANO_USD, 0)
    assert (seconds("800ms"), seconds("15min"), seconds("7d")) == (0.8, 900.0, 604800.0)
    assert (share("98%"), share("0.98"), points("1pt")) == (0.98, 0.98, 0.01)


@pytest.mark.parametrize("item", BUILTIN, ids=lambda item: item.name)
def test_builtin_policies_load_and_print_what_parses_back(item: object) -> None:
    """Each built-in policy loads, and what `show` prints of it is the same policy with the same version."""
    policy = parse(_read(item.read_text(encoding="utf-8")))  # type: ignore[attr-defined,arg-type]
    again = parse(_read(show(policy)))  # type: ignore[arg-type]
    assert again == policy


LINES = st.sampled_from(
    [
        "p95 ttft <= 2s",
        "p50 latency <= 30s",
        "p95 cost <= 0.05 USD",
        "cost <= 1 USD",
        "quality >= 98% of baseline",
        "quality >= 0.8",
        "ttft unlimited",
    ]
)
SECTION = st.fixed_dictionaries(
    {"require": st.lists(LINES, max_size=4, unique_by=lambda line: line.split()[-4 if "baseline" in line else 0])},
    optional={
        "minimize": st.sampled_from(["cost", "latency", "ttft"]),
        "otherwise": st.sampled_from(["baseline", "refuse", {"relax": ["ttft"]}]),
        "failure_domains": st.integers(1, 3),
        "data": st.fixed_dictionaries({}, optional={"regions": st.just(["eu"]), "self_hosted": st.booleans()}),
        "cases": st.just([{"when": "attempt >= 3", "use": "baseline"}]),
    },
)


@given(default=SECTION, steps=st.dictionaries(st.sampled_from(["plan", "edit", "on", "*"]), SECTION, max_size=3))
def test_what_is_printed_parses_back(default: dict[str, object], steps: dict[str, object]) -> None:
    """Whatever parses prints as YAML that parses to an equal policy."""
    try:
        policy = parse({"policy": "p", "baseline": "b", "default": default, "steps": steps})
    except PolicyError:
        return
    assert parse(_read(show(policy))) == policy  # type: ignore[arg-type]


def test_a_typo_is_named_with_what_was_meant() -> None:
    """An unknown key or measure is refused with the nearest known one."""
    assert "Did you mean `minimize`" in _refused(default={"minimise": "cost"})
    assert "`latency`" in _refused(default={"require": ["p95 latancy <= 2s"]})
    assert "`steps`" in _refused(stepz={})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("quality >= baseline", "margin"),
        ("quality >= 120%", "no quality is above 1"),
        ("p95 ttft <= 2 parsecs", "no duration"),
        ("cost <= 2 EUR", "no amount of money"),
        ("latency <= 2s", "needs a percentile"),
        ("p95 quality >= 0.9", "has no percentile"),
    ],
)
def test_impossible_lines_are_refused_with_the_reason(line: str, words: str) -> None:
    """A line that no model can meet, or that means nothing, is refused."""
    assert words in _refused(default={"require": [line]})


@pytest.mark.parametrize(
    "more",
    [
        {"extends": ["org"]},
        {"default": {"allow": ["best_of_n"]}},
    ],
)
def test_what_is_not_executed_is_refused_and_never_ignored(more: dict[str, object]) -> None:
    """Parts of the language that this version does not execute are refused with `not yet`."""
    assert "not yet" in _refused(**more)


def test_rules_that_can_never_fire_are_refused() -> None:
    """An impossible or repeated `when` is refused."""
    assert "can never hold" in _refused(default={"cases": [{"when": "hour >= 25", "use": "baseline"}]})
    twice = [{"when": "attempt >= 3", "use": "baseline"}] * 2
    assert "never reached" in _refused(default={"cases": twice})


def test_a_policy_without_a_baseline_is_refused() -> None:
    """There is always something that serves until something else is proven."""
    with pytest.raises(PolicyError, match="baseline"):
        parse({"policy": "p"})
    with pytest.raises(PolicyError, match="must be a mapping"):
        parse(["p"])  # type: ignore[arg-type]


def test_a_steps_line_replaces_the_line_for_the_same_measure() -> None:
    """The rest of the default stays; `unlimited` takes a line away."""
    default = {"require": ["p95 ttft <= 2s", "p95 cost <= 1 USD"]}
    policy = parse(
        {
            "policy": "p",
            "baseline": "b",
            "default": default,
            "steps": {"edit": {"require": ["p95 cost <= 2 USD", "ttft unlimited"]}},
        }
    )
    assert [line.text for line in policy.rules(Facts(step="edit")).require] == ["p95 cost <= 2 USD"]
    assert [line.text for line in policy.rules(Facts(step="other")).require] == ["p95 ttft <= 2s", "p95 cost <= 1 USD"]


def test_the_first_case_that_holds_wins() -> None:
    """Cases look at attempt and labels; of an absent label nothing is true."""
    cases = [
        {"when": "label.severity in sev1|sev2", "minimize": "latency"},
        {"when": "attempt >= 3", "use": "baseline"},
    ]
    policy = parse({"policy": "p", "baseline": "b", "default": {"cases": cases}})
    assert policy.rules(Facts(labels=(("severity", "sev2"),), attempt=3)).objective == "latency"
    assert policy.rules(Facts(attempt=3)).use_baseline
    assert not policy.rules(Facts(attempt=2)).use_baseline


def test_a_tag_no_model_has_is_an_error_and_an_absent_baseline_a_warning() -> None:
    """Impossible is an error; what may come is a warning."""
    policy = parse({"policy": "p", "baseline": "bass", "default": {"models": {"tags": ["tool"]}}})
    found = {problem.path: problem for problem in check(policy, models={"base": ()}, tags={"tools"})}
    assert found["baseline"].severity == "warning"
    assert found["default.models.tags"].severity == "error"
    assert "`tools`" in found["default.models.tags"].hint
