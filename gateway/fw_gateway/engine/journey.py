"""A call on its way through a plan: what was tried, and where the walk stands."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fw_gateway import clock
from fw_gateway.attempt import Opened, Try
from fw_gateway.engine.purses import Reserved
from fw_gateway.engine.racing import Opener, Race
from fw_gateway.values import Fault, Record
from fw_policies.flow import Answer, Commit, Failed, Flow, Open, Quiet, Told, Verdict, Verify, Wait

_UNTRIED = Fault("_OTHER", "nothing was tried")


@dataclass(slots=True)
class Journey:
    """A call on its way through a plan."""

    record: Record
    tries: list[Try] = field(default_factory=list)
    fault: Fault = _UNTRIED
    backoff: float = 0.0
    spent: bool = False
    """Another try was not made because the retry budget of its group is spent."""
    retry_after: float | None = None
    """The soonest of what providers asked to be left alone for, in seconds."""
    walk: Flow | None = None
    failures: list[Failed] = field(default_factory=list)
    rejection: Verdict | None = None
    """The newest verdict against an answer."""
    races: bool = False
    """The walk may have several attempts open at once."""
    reserved: Reserved | None = None
    """What was set aside, when this is explored."""

    def left(self) -> float:
        """Seconds until the call's deadline."""
        return self.record.call.deadline - clock.monotonic()

    def failed(self) -> int:
        """How many attempts gave no answer; those that are still open may."""
        return sum(one.attempt.outcome in {"error", "timeout"} for one in self.tries) if self.tries else 0


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nothing is left to try; what was tried, in order."""

    failures: tuple[Failed, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """An answer that is the client's."""

    opened: Opened
    failed: Verdict | None = None
    """It did not pass its check, and nothing was left to try."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A held answer that waits for the client's own verdict; the walk stands still."""

    answer: Answer
    check: str


Judge = Callable[[Verify], Verdict | Asking]


def drive(
    journey: Journey, open_: Opener, judge: Judge, told: Told = None
) -> Awaitable[Committed | Exhausted | Asking]:
    """Walk on until an answer is committed or the client is asked: the only loop that awaits. `told` goes to the walk first."""
    if journey.races:
        return _raced(journey, open_, judge, told)
    return _driven(journey, judge, told, open_=open_, wait=_nothing)


async def _raced(journey: Journey, open_: Opener, judge: Judge, told: Told) -> Committed | Exhausted | Asking:
    async with Race(open_) as race:
        return await _driven(journey, judge, told, open_=race.open, wait=race.news)


async def _nothing(_seconds: float | None) -> Quiet:
    """Nothing is open, so there is no news."""
    return Quiet()


async def _driven(
    journey: Journey,
    judge: Judge,
    told: Told,
    *,
    open_: Opener,
    wait: Callable[[float | None], Awaitable[Opened | Failed | Quiet]],
) -> Committed | Exhausted | Asking:
    walk = journey.walk
    if walk is None:
        return Exhausted(tuple(journey.failures))
    asking = False
    try:
        while True:
            ask = walk.send(told)
            found = _opened(ask, await open_(ask)) if isinstance(ask, Open) else await _done(ask, judge, wait)
            if isinstance(found, Committed):
                return found
            if isinstance(found, Asking):
                asking = True
                return found
            if isinstance(found, Failed):
                journey.failures.append(found)
            told = found
    except StopIteration:
        return Exhausted(tuple(journey.failures))
    finally:
        if not asking:
            walk.close()
            journey.walk = None


def _opened(ask: Open, found: Opened | Failed | Quiet) -> Committed | Failed | Quiet | Answer:
    """An answer that nobody has to look at first is the client's."""
    if not isinstance(found, Opened):
        return found
    return Answer(ask.target, found) if ask.hold else Committed(found)


async def _done(
    ask: Wait | Verify | Commit, judge: Judge, wait: Callable[[float | None], Awaitable[Opened | Failed | Quiet]]
) -> Committed | Asking | Failed | Quiet | Verdict:
    """Do what else the walk asks for; what it is told, or how it ends."""
    match ask:
        case Wait():
            found = await wait(ask.seconds)
            return Committed(found) if isinstance(found, Opened) else found
        case Verify():
            return judge(ask)
        case Commit():
            return Committed(ask.answer.content, ask.failed)
