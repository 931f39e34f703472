"""A policy held against the models there are: what is impossible is an error, what is missing today a warning."""

import difflib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from fw_policies.spec import checks
from fw_policies.spec.model import ANY, Policy, Rules
from fw_policies.spec.problems import Problem, near


def check(policy: Policy, *, models: Mapping[str, Any], tags: AbstractSet[str]) -> tuple[Problem, ...]:
    """What does not fit the configured `models` (by name) and `tags`.

    A baseline that is not configured is a warning: its policy may still serve what is proven, or a stand-in.
    """
    found = []
    if policy.baseline not in models:
        hint = near(policy.baseline, models)
        found.append(Problem("baseline", f"there is no model `{policy.baseline}` in the config.", hint, "warning"))
    for step, rules in {ANY: policy.default, **policy.steps}.items():
        path = "default" if step == ANY else f"steps.{step}"
        found += _fits(rules, path, models, tags)
    return tuple(found)


def _fits(rules: Rules, path: str, models: Mapping[str, Any], tags: AbstractSet[str]) -> list[Problem]:
    found = []
    for tag in sorted(rules.tags - set(tags)):
        known = near(tag, tags) or "No configured model has any tag."
        found.append(Problem(f"{path}.models.tags", f"no model has the tag `{tag}`.", known))
    for name in sorted(rules.exclude):
        if name not in models and name not in tags and "*" not in name:
            known = near(name, [*models, *tags])
            message = f"`{name}` is no model and no tag: it excludes nothing."
            found.append(Problem(f"{path}.models.exclude", message, known, "warning"))
    for name in rules.verify:
        if not checks.is_built_in(name) and difflib.get_close_matches(name, checks.BUILT_IN, 1, 0.7):
            message = f"`{name}` is not built in: it is a check that the client runs."
            found.append(Problem(f"{path}.verify", message, near(name, checks.BUILT_IN), "warning"))
    return found
