"""What of a call a plan may depend on."""

from fw_gateway import clock
from fw_gateway.providers import guessing
from fw_gateway.values import Call
from fw_policies.estimate import quantise
from fw_policies.model import Facts
from fw_policies.spec import Policy

LONG = 2**16
"""Bytes from which it is looked at what a request is made of."""
SHORT = 60.0
"""Seconds left from which the deadline matters to a plan."""


def facts(call: Call, policy: Policy | None, model: str | None) -> Facts:
    """What of a call a plan may depend on, rounded so that equal-sized calls share one."""
    who = call.identity
    left = call.deadline - clock.monotonic()
    return Facts(
        agent=who.agent,
        step=who.step or "*",
        attempt=who.attempt,
        labels=who.labels,
        needs=call.needs,
        input_tokens=quantise(tokens(call)),
        max_output_tokens=call.asked.max_output,
        budget_left=_round_down(who.budget) if who.budget is not None else None,
        hour=clock.hour() if policy is not None and "hour" in policy.uses else None,
        deadline=float(int(left)) if left < SHORT else None,
        model=model,
        checks=call.checks,
    )


def tokens(call: Call) -> int:
    """About how many a request has: four bytes to one, but for pictures, sounds and files, which are long and are not read by their letters."""
    if len(call.body) <= LONG and "vision" not in call.needs:
        return len(call.body) // guessing.BYTES
    return guessing.asked(call.fields, picture=guessing.PICTURE)


def _round_down(amount: int) -> int:
    """Two significant digits, never more than there is."""
    scale: int = 10 ** max(0, len(str(abs(amount))) - 2)
    return amount // scale * scale
