"""What a check is, what it finds, and the table of all checks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.suite.bench import Bench

PASS, SAFE, FAIL, ABSENT = "pass", "safe", "fail", "n/a"
WORST = {FAIL: 0, ABSENT: 1, SAFE: 2, PASS: 3}
"""The order in which verdicts of several checks make that of a row: the first of them that occurs."""
NEVER = (
    "a truncated answer presented as success",
    "another caller's bytes in an answer",
    "spend above a hard cap",
    "a settled ledger row lost or doubled",
    "a secret in an output",
    "a request to a host that the operator did not configure",
    "code or SQL run from a caller's input",
    "an unauthenticated route that is not on the allowlist",
    "a retry after the first content was delivered",
    "a hang past the deadline",
)
"""What must never happen; counted apart from the rows."""
TRUNCATED, CROSSED, SECRET, STRANGER, RETRIED, HUNG = NEVER[0], NEVER[1], NEVER[4], NEVER[5], NEVER[8], NEVER[9]


@dataclass(frozen=True, slots=True)
class Group:
    """Deployments behind one family of model names; each has health of its own, so that checks do not disturb each other."""

    ports: tuple[int | str, ...]
    """Replicas by index, or special ports by name, in the order of preference."""
    ttft: float | None = None
    """Seconds to the first content; None: as the adapter says."""
    stall: float | None = None
    """Seconds between events; None: as the adapter says."""
    whole: bool = False
    """The limit for the first content is one for answers that are not streamed too, where the gateway can be told."""
    at_once: int = 2500
    """Calls at once, where the gateway can be told."""
    translated: bool = False
    """The upstream is said to speak OpenAI's chat and nothing else."""
    own: bool = False
    """The upstream is said to be a machine of one's own (a vLLM), not a provider's."""


SOLO = Group((0,))
TRIO = Group((0, 1, 2))


@dataclass(slots=True)
class Finding:
    """What a check found."""

    verdict: str
    measured: str
    """The figure, in a few words."""
    why: str = ""
    """What was wrong, or why it does not apply."""
    never: list[str] = field(default_factory=list)
    """Never-events that were seen, one entry each."""
    log: list[Any] = field(default_factory=list)
    """Raw observations."""
    seconds: float = 0.0


def judged(ok: bool, measured: str, why: str = "", *, safe: bool = False, **more: Any) -> Finding:
    """`pass` when `ok`; else `safe` or `fail`, with the reason."""
    return Finding(PASS if ok else SAFE if safe else FAIL, measured, "" if ok else why, **more)


def absent(why: str, measured: str = "") -> Finding:
    """It cannot be judged here."""
    return Finding(ABSENT, measured, why)


Run = Callable[["Bench"], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one row."""

    row: int
    name: str
    stage: str
    """`A` conformance, `B` upstream faults, `M` memory, `D` hostile input, `L` load."""
    says: str
    groups: dict[str, Group]
    run: Run
    limit: float
    """Seconds after which it is hung."""
    beside: bool = False
    """It mostly waits: it runs beside the others of its stage."""
    timed: bool = False
    """It measures time: when it fails, it is run once more on fresh deployments, because this machine has other things to do too."""

    @property
    def id(self) -> str:
        """`28.chat`."""
        return f"{self.row}.{self.name}"

    @property
    def runs(self) -> int:
        """How often it is run at most."""
        return 2 if self.timed else 1

    def prefix(self, group: str, run: int = 0) -> str:
        """The beginning of the model names of one of its groups, in its first or second run."""
        return f"c{self.row}{self.name.replace('_', '')}{'ab'[run]}-{group}-"


CHECKS: list[Check] = []


def check(
    row: int,
    name: str,
    *,
    stage: str = "B",
    groups: dict[str, Group] | None = None,
    limit: float = 60.0,
    beside: bool = False,
    timed: bool = False,
) -> Callable[[Run], Run]:
    """Enter a function into the table; the first line of its docstring is what it says."""

    def enter(run: Run) -> Run:
        says = (run.__doc__ or name).strip().splitlines()[0]
        CHECKS.append(Check(row, name, stage, says, groups or {"solo": SOLO}, run, limit, beside, timed))
        return run

    return enter
