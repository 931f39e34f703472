"""Which checks an answer must pass, and who runs them: what nobody runs is not counted on."""

from dataclasses import replace

from fw_policies.model import Facts, Plan
from fw_policies.rules.ask import Ask, candidate, is_run, note
from fw_policies.spec import checks


def verify(plan: Plan, ask: Ask) -> Plan:
    """Put the step's checks into the plan. A check of the client's own that this client does not run is left out, and said.

    A cascade that leans on such a check has nothing to stop it at a bad answer: its last target, the strongest, serves alone.
    """
    if plan.arms:
        return replace(plan, arms=tuple((weight, verify(arm, ask)) for weight, arm in plan.arms))
    if not plan.targets:
        return plan
    wanted = tuple(dict.fromkeys((*ask.rules.verify, *plan.verify)))
    absent = [check for check in wanted if not checks.is_built_in(check) and not is_run(check, ask.facts)]
    if absent:
        plan = _without(plan, absent, ask)
    held = tuple(check for check in wanted if check not in absent)
    return _walked(plan, _with_own(held, ask.facts))


def declared(plan: Plan, facts: Facts) -> Plan:
    """The plan of a pinned call with the check that the client itself runs, if it said so; it wanted that model's answer in any case."""
    if not facts.checks or not plan.targets:
        return plan
    return _walked(replace(plan, otherwise="baseline"), _with_own((), facts))


def _with_own(held: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
    """`held` and the checks that the client brings by itself, last: it asked for them, so they are run."""
    own = [check for check in facts.checks if check != checks.ANY_CHECK]
    if checks.ANY_CHECK in facts.checks and all(checks.is_built_in(check) for check in held):
        own.append("client")
    return tuple(dict.fromkeys((*held, *own)))


def _without(plan: Plan, absent: list[str], ask: Ask) -> Plan:
    said = f"{', '.join(absent)} is not run by this client"
    if plan.strategy != "cascade":
        return note(plan, "verify", f"{said}: answers count unchecked")
    last = plan.targets[-1]
    found = candidate(plan, last, ask)
    outlook = plan.outlook if found is None else found.outlook
    said = f"{said}: {last.deployment}, the last of the cascade, serves alone"
    return note(plan, "verify", said, targets=(last,), strategy="single", outlook=outlook)


def _walked(plan: Plan, checks: tuple[str, ...]) -> Plan:
    """The plan under these checks. Another model to go on to makes it a cascade: a rejected answer is not asked for again from the same model."""
    strategy = "cascade" if checks and len({target.model for target in plan.targets}) > 1 else plan.strategy
    return (
        plan if (checks, strategy) == (plan.verify, plan.strategy) else replace(plan, verify=checks, strategy=strategy)
    )
