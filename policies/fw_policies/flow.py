"""How a plan is walked: generators that yield what to do next and are sent what became of it.

A flow awaits nothing and knows no clock. It yields `Open`, `Verify`, `Commit` or `Wait`; the driver sends back `Failed`, `Quiet`
(the wait is over and the open target has shown no content), after `Open(hold=True)` an `Answer`, and after `Verify` a `Verdict`.
Without `hold` the first content commits: the driver closes the flow and the flow never hears of it. After `Commit` it is closed
too. A flow that returns has nothing left to try.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from fw_policies.model import Plan, Target


@dataclass(frozen=True, slots=True)
class Open:
    """Try this target. `hold` keeps a complete answer back until the flow has judged it."""

    target: Target
    hold: bool = False
    cascade: bool = False
    """What was tried before gave an answer that was rejected, it did not fail."""
    patience: float | None = None
    """Seconds after which `Quiet` is told while it stays open; None: it is waited for."""
    hedge: bool = False
    """Beside what is open and quiet; where that is not allowed now, `Quiet` is told at once and nothing is opened."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass while what is open stays open; None: until there is news of it."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A target that was opened failed before its first content. `fault` belongs to the driver."""

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


@dataclass(frozen=True, slots=True)
class Verify:
    """Have these checks run on a held answer."""

    answer: Answer
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks said; the one that rejected, and why."""

    accepted: bool
    check: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """Give a held answer to the client."""

    answer: Answer
    failed: Verdict | None = None
    """It did not pass, and nothing is left to try: it is passed on all the same, and says so."""


Ask = Open | Wait | Verify | Commit
Told = Failed | Quiet | Answer | Verdict | None
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


def cascade(plan: Plan) -> Flow:
    """Try each target in order until an answer passes the checks.

    A failure goes on to the next target, a rejected answer to the next *model*: the same one would say the same. When the last
    answer is rejected too, it is passed on as it is, unless the policy refuses.
    """
    rejected: set[str] = set()
    last: Commit | None = None
    for target in plan.targets:
        if target.model in rejected:
            continue
        told = yield Open(target, hold=True, cascade=bool(rejected))
        if isinstance(told, Failed) and not told.retryable:
            break
        if not isinstance(told, Answer):
            continue
        verdict = yield Verify(told, plan.verify)
        if not isinstance(verdict, Verdict) or verdict.accepted:
            yield Commit(told)
            return
        rejected.add(target.model)
        last = Commit(told, verdict)
    if last is not None and plan.otherwise != "refuse":
        yield last


def hedge(plan: Plan, after: float) -> Flow:
    """The first target, and beside it, when it is quiet for `after` seconds, another of its model; the first content of the two commits.

    When both have failed, the others are tried in order.
    """
    first, rest = plan.targets[0], list(plan.targets[1:])
    told = yield Open(first, patience=after)
    if isinstance(told, Quiet):
        opened = [first]
        second = next((target for target in rest if target.model == first.model), None)
        if second is not None:
            told = yield Open(second, hedge=True)
            if not isinstance(told, Quiet):
                opened.append(second)
                rest.remove(second)
        while True:
            if isinstance(told, Failed):
                if not told.retryable:
                    return
                opened.remove(told.target)
            if not opened:
                break
            told = yield Wait()
    if isinstance(told, Failed) and not told.retryable:
        return
    yield from fall_back(replace(plan, targets=tuple(rest)))


FLOWS = {"single": single, "fall_back": fall_back, "cascade": cascade}
"""Strategy -> flow. A mixture is drawn from before it is walked."""


def flow(plan: Plan, *, hedge_after: float | None = None) -> Flow:
    """The flow that walks `plan`; with checks to pass, every walk holds its answers.

    `hedge_after`: seconds after which a plan that may be hedged is; None: nobody knows how long is long.

    Raises:
        KeyError: for a strategy nobody walks yet.
    """
    if plan.verify:
        return cascade(plan)
    return (
        hedge(plan, hedge_after)
        if plan.hedge and hedge_after is not None and not plan.explored
        else FLOWS[plan.strategy](plan)
    )
