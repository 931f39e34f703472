"""Hard rules, never traded: what a target can do, where data may go, whether it may be tried at all.

Each makes a judge for one request, or none when there is nothing to judge.
"""

import math
from fnmatch import fnmatchcase

from fw_policies.model import Candidate, Exclusion
from fw_policies.rules.ask import Ask, Judge, Lasting, Passing, Verdict, first, remembered


def fitting(ask: Ask) -> Lasting:
    """What holds for every request of a step: the kind of model, and what the policy says of models and of places."""
    today = ask.world.today
    judge = first((patterns, kind, _data(ask), _models(ask), _retired(ask)))
    return Lasting(remembered(judge, ("fitting", id(ask.rules)), (ask.rules, today)), (today,))


def patterns(candidate: Candidate) -> Verdict:
    """Models with a pattern for a name stand for names that only a caller knows: pinned or not at all."""
    return ("policy", "a pattern of names, served when pinned") if "*" in candidate.target.model else None


def kind(candidate: Candidate) -> Verdict:
    """Models that do not chat."""
    has = candidate.target.capabilities
    return ("capability", "does not chat") if has and "chat" not in has and "embeddings" in has else None


def _data(ask: Ask) -> Judge:
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

    return judge


def _models(ask: Ask) -> Judge:
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

    return judge


def _retired(ask: Ask) -> Judge:
    """Models past the date on which their provider retires them."""
    today = ask.world.today

    def judge(candidate: Candidate) -> Verdict:
        date = candidate.target.deprecated_on
        return ("deprecated", f"retired on {date}") if date is not None and date <= today else None

    return judge


def capability(ask: Ask) -> Lasting | None:
    """Targets that lack what the request uses. A target whose capabilities nobody declared is taken at its word."""
    needs = ask.facts.needs
    if not needs:
        return None

    def judge(candidate: Candidate) -> Verdict:
        has = candidate.target.capabilities
        return None if not has or needs <= has else ("capability", f"has no {', '.join(sorted(needs - has))}")

    return Lasting(judge, (needs,))


def context(ask: Ask) -> Passing:
    """Targets whose window the request does not fit."""
    size = ask.facts.input_tokens + (ask.facts.max_output_tokens or 0)

    def judge(candidate: Candidate) -> Verdict:
        window = candidate.target.context
        if window is None or size <= window:
            return None
        return "context_length", f"about {size} tokens > {window}"

    return Passing(judge, size)


def window(candidate: Candidate, _: Ask) -> float:
    """Tokens that fit."""
    return math.inf if candidate.target.context is None else candidate.target.context


WORDS: dict[Exclusion, str] = {
    "no_credential": "no credential",
    "cooldown": "rests after failures",
    "unhealthy": "unhealthy",
    "rate_limited": "its provider asked for a pause",
}


def available(ask: Ask) -> Lasting | None:
    """Deployments that may not be tried now."""
    blocked = ask.world.blocked
    if not blocked:
        return None

    def judge(candidate: Candidate) -> Verdict:
        reason = blocked.get(candidate.target.deployment, "")
        return (reason, WORDS.get(reason, reason)) if reason else None

    return Lasting(judge, of_target=lambda target: blocked.get(target.deployment))


def budget(ask: Ask) -> Passing | None:
    """Targets whose expected cost is more than the run has left, or than the policy lets a whole run cost.

    What is left comes with the facts: whoever serves keeps the sum. A cost that is not known excludes nothing.
    """
    limits = [limit for limit in (ask.facts.budget_left, ask.policy.run_cost) if limit is not None]
    if not limits:
        return None
    left = min(limits)

    def judge(candidate: Candidate) -> Verdict:
        cost = candidate.mean("cost")
        if left <= 0 or (cost is not None and cost > left):
            return "over_budget", "costs more than the run has left"
        return None

    return Passing(judge)


def deadline(ask: Ask) -> Passing | None:
    """Targets that are expected to take longer than there is time."""
    left = ask.facts.deadline
    if left is None:
        return None

    def judge(candidate: Candidate) -> Verdict:
        latency = candidate.mean("latency")
        if latency is not None and latency > left:
            return "deadline", f"takes {latency:.1f} s, {left:g} s are left"
        return None

    return Passing(judge, -left)


def haste(candidate: Candidate, _: Ask) -> float:
    """How little time is enough, in seconds below zero: the less is left, the further a request goes."""
    latency = candidate.mean("latency")
    return math.inf if latency is None else -latency
