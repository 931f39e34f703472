"""Hard rules, never traded: what a target can do, where data may go, whether it may be tried at all."""

from fnmatch import fnmatchcase

from fw_policies.model import Candidate, Exclusion, Plan
from fw_policies.rules.ask import Ask, exclude

Verdict = tuple[Exclusion, str] | None


def capability(plan: Plan, ask: Ask) -> Plan:
    """Targets that lack what the request uses. A target whose capabilities nobody declared is taken at its word."""

    def judge(candidate: Candidate) -> Verdict:
        has = candidate.target.capabilities
        missing = ask.facts.needs - has
        return ("capability", f"has no {', '.join(sorted(missing))}") if has and missing else None

    return exclude(plan, judge, "capability")


def context(plan: Plan, ask: Ask) -> Plan:
    """Targets whose window the request does not fit."""
    size = ask.facts.input_tokens + (ask.facts.max_output_tokens or 0)

    def judge(candidate: Candidate) -> Verdict:
        window = candidate.target.context
        if window is None or size <= window:
            return None
        return "context_length", f"about {size} tokens > {window}"

    return exclude(plan, judge, "context")


def data(plan: Plan, ask: Ask) -> Plan:
    """Targets in a region, or of a kind of hosting, that the policy forbids."""
    rules = ask.rules

    def judge(candidate: Candidate) -> Verdict:
        target = candidate.target
        if rules.regions and target.region not in rules.regions:
            return (
                "region",
                f"runs in {target.region or 'an unknown region'}, not in {', '.join(sorted(rules.regions))}",
            )
        if rules.self_hosted is not None and target.self_hosted is not rules.self_hosted:
            return "policy", "is not self-hosted" if rules.self_hosted else "is self-hosted"
        return None

    return exclude(plan, judge, "data")


def models(plan: Plan, ask: Ask) -> Plan:
    """Models that the policy does not name or excludes."""
    rules = ask.rules

    def judge(candidate: Candidate) -> Verdict:
        target = candidate.target
        if not rules.tags <= target.tags:
            return "policy", f"lacks the tag {', '.join(sorted(rules.tags - target.tags))}"
        for pattern in sorted(rules.exclude):
            if pattern in target.tags or fnmatchcase(target.model, pattern):
                return "policy", f"excluded by {pattern}"
        return None

    return exclude(plan, judge, "models")


def retired(plan: Plan, ask: Ask) -> Plan:
    """Models past the date on which their provider retires them."""

    def judge(candidate: Candidate) -> Verdict:
        date = candidate.target.deprecated_on
        return ("deprecated", f"retired on {date}") if date is not None and date <= ask.world.today else None

    return exclude(plan, judge, "retired")


WORDS: dict[Exclusion, str] = {
    "no_credential": "no credential",
    "cooldown": "rests after failures",
    "unhealthy": "unhealthy",
    "rate_limited": "its provider asked for a pause",
}


def available(plan: Plan, ask: Ask) -> Plan:
    """Deployments that may not be tried now."""

    def judge(candidate: Candidate) -> Verdict:
        reason = ask.world.blocked.get(candidate.target.deployment, "")
        return (reason, WORDS.get(reason, reason)) if reason else None

    return exclude(plan, judge, "available")


def patterns(plan: Plan, ask: Ask) -> Plan:
    """Models with a pattern for a name stand for names that only a caller knows: pinned or not at all."""

    def judge(candidate: Candidate) -> Verdict:
        return ("policy", "a pattern of names, served when pinned") if "*" in candidate.target.model else None

    return exclude(plan, judge, "patterns")


def kind(plan: Plan, ask: Ask) -> Plan:
    """Models that do not chat."""

    def judge(candidate: Candidate) -> Verdict:
        has = candidate.target.capabilities
        return ("capability", "does not chat") if has and "chat" not in has and "embeddings" in has else None

    return exclude(plan, judge, "kind")


def budget(plan: Plan, ask: Ask) -> Plan:
    """Targets whose expected cost is more than the run has left, or than the policy lets a whole run cost.

    What is left comes with the facts: whoever serves keeps the sum. A cost that is not known excludes nothing.
    """
    limits = [limit for limit in (ask.facts.budget_left, ask.policy.run_cost) if limit is not None]
    if not limits:
        return plan
    left = min(limits)

    def judge(candidate: Candidate) -> Verdict:
        cost = candidate.outlook.cost
        if left <= 0 or (cost is not None and cost.mean > left):
            return "over_budget", "costs more than the run has left"
        return None

    return exclude(plan, judge, "budget")


def deadline(plan: Plan, ask: Ask) -> Plan:
    """Targets that are expected to take longer than there is time."""
    left = ask.facts.deadline
    if left is None:
        return plan

    def judge(candidate: Candidate) -> Verdict:
        latency = candidate.outlook.latency
        if latency is not None and latency.mean > left:
            return "deadline", f"takes {latency.mean:.1f} s, {left:g} s are left"
        return None

    return exclude(plan, judge, "deadline")
