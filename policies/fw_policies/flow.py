"""How a plan is walked: generators that yield what to do next and are sent what became of it.

A flow awaits nothing and knows no clock. It yields `Open` or `Wait`; the driver sends back `Failed`, `Quiet` (the wait is
over and the open target has shown no content) or, only after `Open(hold=True)`, `Answer`. Without `hold` the first content
commits: the driver closes the flow and the flow never hears of it. A flow that returns has nothing left to try.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from fw_policies.model import Plan, Target


@dataclass(frozen=True, slots=True)
class Open:
    """Try this target. `hold` keeps a complete answer back until the flow has judged it."""

    target: Target
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass while what is open stays open."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The target opened last failed before its first content. `fault` belongs to the driver."""

    target: Target
    fault: Any
    retryable: bool = True
    """False: the request itself is at fault (400, 404, 422, ...), another target would say the same."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """The wait is over and no content has come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer that is not committed yet."""

    target: Target
    content: Any


Ask = Open | Wait
Told = Failed | Quiet | Answer | None
Flow = Generator[Ask, Told, None]


def single(plan: Plan) -> Flow:
    """Try the first target, once."""
    yield Open(plan.targets[0])


def fall_back(plan: Plan) -> Flow:
    """Try each target in order, and stop early when the request itself is at fault."""
    for target in plan.targets:
        told = yield Open(target)
        if isinstance(told, Failed) and not told.retryable:
            return


FLOWS = {"single": single, "fall_back": fall_back}
"""Strategy -> flow. cascade, mixture and hedge take their place here."""


def flow(plan: Plan) -> Flow:
    """The flow that walks `plan`.

    Raises:
        KeyError: for a strategy nobody walks yet.
    """
    return FLOWS[plan.strategy](plan)
