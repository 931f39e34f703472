"""A call on its way through a plan: what was tried, and where the walk stands."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fw_gateway import clock
from fw_gateway.attempt import Opened, Try
from fw_gateway.engine.purses import Reserved
from fw_gateway.values import Fault, Record
from fw_policies.flow import Answer, Ask, Commit, Failed, Flow, Open, Told, Verdict, Verify


@dataclass(slots=True)
class Journey:
    """A call on its way through a plan."""

    record: Record
    tries: list[Try] = field(default_factory=list)
    fault: Fault = field(default_factory=lambda: Fault("_OTHER", "nothing was tried"))
    backoff: float = 0.0
    spent: bool = False
    """Another try was not made because the retry budget of its group is spent."""
    retry_after: float | None = None
    """The soonest of what providers asked to be left alone for, in seconds."""
    walk: Flow | None = None
    failures: list[Failed] = field(default_factory=list)
    rejection: Verdict | None = None
    """The newest verdict against an answer."""
    reserved: Reserved | None = None
    """What was set aside, when this is explored."""

    def left(self) -> float:
        """Seconds until the call's deadline."""
        return self.record.call.deadline - clock.monotonic()

    def failed(self) -> int:
        """How many attempts gave no answer."""
        return sum(one.attempt.outcome not in {"success", "rejected"} for one in self.tries)


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


Opener = Callable[[Open], Awaitable[Opened | Failed]]
Judge = Callable[[Verify], Verdict | Asking]


async def drive(journey: Journey, open_: Opener, judge: Judge, told: Told = None) -> Committed | Exhausted | Asking:
    """Walk on until an answer is committed or the client is asked: the only loop that awaits. `told` goes to the walk first."""
    walk = journey.walk
    if walk is None:
        return Exhausted(tuple(journey.failures))
    asking = False
    try:
        while True:
            found = await _done(walk.send(told), open_, judge)
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


async def _done(ask: Ask, open_: Opener, judge: Judge) -> Committed | Asking | Failed | Answer | Verdict:
    """Do what the walk asks for; what it is told, or how it ends."""
    match ask:
        case Open():
            opened = await open_(ask)
            if isinstance(opened, Failed):
                return opened
            return Answer(ask.target, opened) if ask.hold else Committed(opened)
        case Verify():
            return judge(ask)
        case Commit():
            return Committed(ask.answer.content, ask.failed)
        case _:
            raise NotImplementedError(f"{ask} is not driven yet")
