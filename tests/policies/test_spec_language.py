"""The policy language: what is read, what is refused and with which hint, and what is printed."""

from importlib.resources import files
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from fw_policies.model import NANO_USD, Facts
from fw_policies.spec import Explore, Policy, PolicyError, check, parse, show

BUILTIN = {
    item.name: item.read_text(encoding="utf-8")
    for item in files("fw_policies").joinpath("builtin").iterdir()
    if item.name.endswith(".yaml")
}


def read(text: str) -> Any:
    """One YAML 1.2 document as plain mappings."""
    return YAML(typ="safe").load(StringIO(text))


def policy(**default: Any) -> Policy:
    """A policy with these default lines."""
    quality = {"outcome": "tests_pass", "of": "run", "confidence": "90%"}
    return parse({"policy": "p", "baseline": "big", "quality": quality, "default": {"minimize": "cost", **default}})


def refused(mapping: Any) -> str:
    """What the refusal of a mapping says."""
    with pytest.raises(PolicyError) as caught:
        parse(mapping)
    assert caught.value.problems
    return str(caught.value)


def broken(**default: Any) -> str:
    """What the refusal of these default lines says."""
    return refused({"policy": "p", "baseline": "big", "quality": {"outcome": "ok"}, "default": default})


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_built_in_policy_is_read_and_what_is_printed_reads_back_as_the_same_policy(name: str) -> None:
    """`show` is YAML that parses to an equal digest, rules and cases."""
    first = parse(read(BUILTIN[name]))
    again = parse(read(show(first)))
    assert (again.digest, again.steps, again.default, again.cases) == (
        first.digest,
        first.steps,
        first.default,
        first.cases,
    )


def test_a_requirement_is_read_in_its_own_unit() -> None:
    """Money in nano-USD, time in seconds, shares of one, points as hundredths."""
    lines = ["p95 cost <= 0.05 USD", "p99.9 latency <= 800ms", "p50 ttft <= 2min", "quality >= baseline - 1pt"]
    cost, latency, ttft, quality = policy(require=lines).default.require
    assert (cost.limit, cost.percentile) == (NANO_USD // 20, 0.95)
    assert latency.limit == 0.8
    assert latency.percentile == pytest.approx(0.999)
    assert (ttft.limit, ttft.percentile) == (120, 0.5)
    assert quality.margin == 0.01


def test_a_steps_line_replaces_the_defaults_line_for_the_same_measure_only() -> None:
    """The other lines stay, and `unlimited` takes one away."""
    found = parse(
        {
            "policy": "p",
            "baseline": "big",
            "default": {"minimize": "cost", "require": ["p95 ttft <= 2s", "p95 cost <= 1 USD"]},
            "steps": {"edit": {"require": ["p95 cost <= 2 USD"]}, "plan": {"require": ["ttft unlimited"]}},
        }
    )
    assert [line.text for line in found.steps["edit"].require] == ["p95 ttft <= 2s", "p95 cost <= 2 USD"]
    assert [line.text for line in found.steps["plan"].require] == ["p95 cost <= 1 USD"]
    assert found.rules(Facts(step="never named")) == found.default


def test_the_first_case_that_holds_is_the_one() -> None:
    """Facts choose: attempt, labels, budget left."""
    cases = [
        {"when": "label.severity in sev1|sev2", "maximize": "quality"},
        {"when": "attempt >= 3 and budget_left > 1 USD", "use": "baseline"},
    ]
    found = policy(cases=cases)
    assert found.rules(Facts(labels=(("severity", "sev2"),), attempt=3)).objective == "quality"
    assert found.rules(Facts(attempt=3, budget_left=2 * NANO_USD)).use_baseline
    assert not found.rules(Facts(attempt=3)).use_baseline, "what is not known makes nothing true"
    assert found.rules(Facts()) == found.default


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"minimise": "cost"}, "minimize"),
        ({"require": ["p95 latensy <= 2s"]}, "latency"),
        ({"require": ["p95 ttft <= 2 parsecs"]}, "no duration"),
        ({"require": ["p95 cost <= 2"]}, "USD"),
        ({"require": ["quality >= baseline"]}, "margin"),
        ({"require": ["quality >= 1.2"]}, "above 1"),
        ({"require": ["latency <= 2s"]}, "percentile"),
        ({"require": ["p95 ttft <= 2s", "p95 ttft <= 3s"]}, "same measure"),
        ({"minimize": "cost", "maximize": "quality"}, "exactly one"),
        ({"otherwise": "relax [latensy]"}, "latency"),
        ({"allow": ["best_of_n"]}, "not yet"),
        ({"allow": ["fallback"]}, "fall_back"),
        ({"verify": "patch applies"}, "no check"),
        ({"verify": "regex"}, "needs a pattern"),
        ({"verify": "regex(()"}, "no regular expression"),
        ({"verify": "not_empty(x)"}, "takes no argument"),
        ({"verify": {"json_schema": "x"}}, "must be a mapping"),
        ({"verify": ["mine", "yours"]}, "two checks of the client"),
        ({"sticky": "run"}, "loop"),
        ({"effort": ["hihg"]}, "high"),
        ({"effort": []}, "no effort"),
        ({"explore": {"share": "5%"}}, "one purse"),
        ({"cases": [{"when": "attemt >= 3"}]}, "attempt"),
        ({"cases": [{"when": "hour > 23"}]}, "never"),
        ({"cases": [{"when": "attempt > 2"}, {"when": "attempt > 2"}]}, "never reached"),
        ({"failure_domains": 0}, "whole number"),
        ({"data": {"self_hosted": "no"}}, "true or false"),
    ],
)
def test_what_is_wrong_is_refused_and_the_refusal_says_what_to_write(lines: dict[str, Any], words: str) -> None:
    """Near names, units, impossibilities, and what is not executed yet."""
    assert words in broken(**lines)


def test_a_policy_without_a_baseline_is_refused() -> None:
    """There would be nothing to serve on the first day."""
    assert "baseline" in refused({"policy": "p"})


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a policy one message at a time."""
    with pytest.raises(PolicyError) as caught:
        parse({"policy": "p", "basline": "big", "default": {"minimise": "cost", "require": ["p95 ttft <= soon"]}})
    assert {"basline", "baseline", "default.minimise", "default.require[0]"} <= {p.path for p in caught.value.problems}


def test_a_tag_no_model_has_is_an_error_and_a_baseline_that_is_not_configured_a_warning() -> None:
    """The first can never be met; the second has a stand-in."""
    found = check(policy(models={"tags": ["tols"]}), models={"bigger": ()}, tags={"tools"})
    assert {(item.path, item.severity) for item in found} == {("baseline", "warning"), ("default.models.tags", "error")}
    assert "tools" in " ".join(item.hint for item in found)


def test_the_digest_follows_the_meaning_and_not_the_order_of_keys() -> None:
    """Same lines, same version; another limit, another version."""
    one = parse({"policy": "p", "baseline": "b", "default": {"minimize": "cost", "failure_domains": 2}})
    two = parse({"default": {"failure_domains": 2, "minimize": "cost"}, "baseline": "b", "policy": "p"})
    three = parse({"default": {"failure_domains": 3, "minimize": "cost"}, "baseline": "b", "policy": "p"})
    assert one.digest == two.digest != three.digest


NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
LINES = {
    "cost": st.integers(1, 10**6).map(lambda n: f"p95 cost <= {n} USD"),
    "ttft": st.integers(1, 10**6).map(lambda n: f"p99 ttft <= {n}ms") | st.just("ttft unlimited"),
    "quality": st.integers(1, 100).map(lambda n: f"quality >= {n}% of baseline"),
}
REQUIRE = (
    st.sets(st.sampled_from(sorted(LINES)))
    .flatmap(lambda some: st.tuples(*(LINES[key] for key in sorted(some))))
    .map(list)
)
SECTION = st.fixed_dictionaries(
    {"minimize": st.sampled_from(["cost", "latency", "ttft"]), "require": REQUIRE},
    optional={
        "failure_domains": st.integers(1, 9),
        "otherwise": st.sampled_from(["baseline", "refuse", "relax [ttft, cost]"]),
        "models": st.fixed_dictionaries({"exclude": st.lists(NAMES)}),
        "data": st.fixed_dictionaries({"regions": st.lists(NAMES), "self_hosted": st.booleans()}),
        "cases": st.just([{"when": "attempt >= 3", "use": "baseline"}]),
    },
)


@settings(deadline=None)
@given(
    default=SECTION,
    steps=st.dictionaries(NAMES | st.just("*") | st.sampled_from(["no", "null", "1", "a b:c"]), SECTION, max_size=3),
)
def test_any_policy_that_is_printed_reads_back_as_itself(default: dict[str, Any], steps: dict[str, Any]) -> None:
    """Steps called `no`, `null` or `1` included."""
    first = parse({"policy": "p", "baseline": "big", "quality": {"outcome": "ok"}, "default": default, "steps": steps})
    again = parse(read(show(first)))
    assert (again.steps, again.default, again.cases, again.digest) == (
        first.steps,
        first.default,
        first.cases,
        first.digest,
    )


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text("p95 <=ab|", max_size=6)
    | st.sampled_from(["cost", "baseline", "relax [cost]", "p95 ttft <= 2s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["when", "relax", "tags", "of", "outcome"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ("minimize", "maximize", "require", "models", "data", "allow", "otherwise", "failure_domains", "cases", "use")


@settings(deadline=None)
@given(
    section=st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=4),
    top=st.dictionaries(st.sampled_from(["quality", "run", "steps"]), JUNK),
)
def test_no_mapping_makes_the_reader_fail_otherwise_than_by_refusing(section: Any, top: Any) -> None:
    """A policy, or a PolicyError with at least one problem; nothing else."""
    problems: tuple[object, ...] = ("none",)
    try:
        parse({"policy": "p", "baseline": "b", **top, "default": section})
    except PolicyError as fault:
        problems = fault.problems
    assert problems


@pytest.mark.parametrize(
    "mapping",
    [
        [],
        {"policy": "p", "baseline": "b", "quality": {"outcome": "x", "of": ["run"]}},
        {"policy": "p", "baseline": "b", "default": {"use": ["baseline"]}},
        {"policy": "p", "baseline": "b", "default": {"otherwise": {"relay": ["cost"]}}},
        {"policy": "p", "baseline": "b", "default": {"require": ["p95 cost <= " + "9" * 400 + " USD"]}},
    ],
)
def test_values_of_the_wrong_kind_are_refused_in_words(mapping: Any) -> None:
    """A list where a word belongs, a number beyond all numbers, no mapping at all."""
    assert refused(mapping)


def test_relax_reads_the_same_as_text_and_as_a_mapping() -> None:
    """YAML makes either of it."""
    assert (
        policy(otherwise={"relax": ["cost"]}).default.relax
        == policy(otherwise="relax [cost]").default.relax
        == ("cost",)
    )


def test_a_promise_about_quality_needs_to_say_what_quality_is() -> None:
    """Without an outcome nothing can ever prove it: the line could never fire."""
    for default in ({"require": ["quality >= 0.8"]}, {"maximize": "quality"}):
        assert "outcome" in refused({"policy": "p", "baseline": "b", "default": default})


def _exploring(**lines: str) -> dict[str, str]:
    return {"share": "5%", "max_cost": "1 USD/day", "max_quality_loss": "2pt", **lines}


def test_exploring_is_bounded_three_ways_by_the_policy_and_by_a_step_from_its_own_purse() -> None:
    """What the policy says holds for every step; a step that says its own is paid apart."""
    text = {
        "policy": "p",
        "baseline": "b",
        "explore": _exploring(),
        "steps": {"own": {"explore": _exploring(share="1%")}, "other": {}},
    }
    found = parse(text)
    assert found.default.explore == found.steps["other"].explore == Explore(0.05, NANO_USD, 0.02)
    assert found.steps["own"].explore == Explore(0.01, NANO_USD, 0.02, "own")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"share": "0%"}, "above 0"),
        ({"share": "80%"}, "at most 50%"),
        ({"max_cost": "1 USD"}, "per what"),
        ({"max_cost": "1/day"}, "no amount"),
        ({"max_quality_loss": "2%"}, "points"),
    ],
)
def test_a_limit_of_exploring_that_is_none_is_refused(lines: dict[str, str], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        parse({"policy": "p", "baseline": "b", "explore": _exploring(**lines)})


@pytest.mark.parametrize("limit", ["share", "max_cost", "max_quality_loss"])
def test_exploring_without_one_of_its_limits_is_refused(limit: str) -> None:
    lines = _exploring()
    del lines[limit]
    with pytest.raises(PolicyError, match=f"lacks {limit}"):
        parse({"policy": "p", "baseline": "b", "explore": lines})


def test_checks_efforts_and_stickiness_are_read_and_the_clients_check_comes_last() -> None:
    """One spelling for a check however it was written; efforts rise."""
    default = {
        "verify": ["patch_applies", {"json_schema": {"type": "object"}}, "regex(^OK)"],
        "effort": ["high", "low"],
        "sticky": "loop",
        "allow": ["cascade", "mixture", "fall_back"],
    }
    rules = parse({"policy": "p", "baseline": "b", "default": default}).default
    assert rules.verify == ('json_schema({"type": "object"})', "regex(^OK)", "patch_applies")
    assert rules.effort == ("low", "high")
    assert rules.sticky == "loop"


def test_what_is_printed_of_checks_and_exploring_parses_back_to_the_same_policy() -> None:
    text = {
        "policy": "p",
        "baseline": "b",
        "explore": _exploring(),
        "default": {"verify": [{"json_schema": {"type": "object"}}, "regex(^a: [b]$)"], "sticky": "conversation"},
        "steps": {"own": {"explore": _exploring(share="1%"), "effort": ["low"], "verify": "mine"}},
    }
    found = parse(text)
    assert parse(YAML(typ="safe").load(show(found))) == found


def test_a_check_that_is_nearly_built_in_is_warned_of() -> None:
    """A misspelt name would otherwise be a check of the client's, which nobody runs."""
    found = parse({"policy": "p", "baseline": "b", "default": {"verify": "json_shema"}})
    (problem,) = check(found, models={"b": None}, tags=frozenset())
    assert (problem.severity, problem.path, problem.hint) == (
        "warning",
        "default.verify",
        "Did you mean `json_schema`?",
    )
    fine = parse({"policy": "p", "baseline": "b", "default": {"verify": "patch_applies"}})
    assert check(fine, models={"b": None}, tags=frozenset()) == ()
