"""Who a call is for: agent, step, run and the rest, carried by a context variable, written as headers."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any

from fwsdk._money import UNKNOWN, ZERO, Money


@dataclass(frozen=True, slots=True)
class Scope:
    """Identity of the calls made inside it. Empty means not said, and is not sent."""

    agent: str = ""
    step: str = ""
    run: str = ""
    thread: str = ""
    """The conversation, when there is one; never invented."""
    path: str = ""
    """Where in a graph: the way down to this step."""
    task: str = ""
    """The same for every repetition of one piece of work."""
    attempt: int = 1
    """From 1; more than 1 says that the step is being repeated."""
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    budget: Money = UNKNOWN
    """What the whole run may cost; unknown: no limit of its own."""
    index: int | None = None
    """Which step of the run this is, from 1."""
    verify: Callable[..., Any] | None = field(default=None, compare=False)
    """The check that this step's answers must pass, run in this process; it is no header, for only our own calls run it."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, str) and (not value.isprintable() or value != value.strip()):
                raise ValueError(
                    f"{one.name} {value!r} has control characters or blanks around it; it travels as a header"
                )
        for name, value in self.labels.items():
            if not name or set(name) & set(",= ") or "," in value or not f"{name}{value}".isprintable():
                raise ValueError(f"label {name!r}={value!r}: no comma in either, no `=` or blank in the name")
        if self.attempt < 1:
            raise ValueError(f"attempt counts from 1, not {self.attempt!r}")

    def headers(self) -> dict[str, str]:
        """As `x-fw-*` request headers; only what was said."""
        found = {
            "x-fw-agent": self.agent,
            "x-fw-step": self.step,
            "x-fw-run": self.run,
            "x-fw-thread": self.thread,
            "x-fw-path": self.path,
            "x-fw-task": self.task,
            "x-fw-attempt": str(self.attempt) if self.attempt > 1 else "",
            "x-fw-labels": ",".join(f"{name}={value}" for name, value in self.labels.items()),
            "x-fw-policy": self.policy,
            "x-fw-budget": f"{self.budget.plain()} USD" if self.budget.nano is not None else "",
        }
        return {name: value for name, value in found.items() if value}


class Account:
    """What one run has spent so far, and how many steps it took. Shared by all of its calls."""

    __slots__ = ("cost", "steps")

    def __init__(self) -> None:
        self.cost: Money = ZERO
        self.steps: int = 0

    def add(self, cost: Money) -> None:
        """One call is over. A single unknown cost makes the sum unknown."""
        self.cost = self.cost + cost


NOBODY = Scope()
SCOPE: ContextVar[Scope] = ContextVar("fwsdk.scope", default=NOBODY)
ACCOUNT: ContextVar[Account | None] = ContextVar("fwsdk.account", default=None)


def current() -> Scope:
    """The scope of whatever is running now; an empty one outside any run."""
    return SCOPE.get()
