"""A policy as frozen values: what each step needs, with defaults and layers already merged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fw_policies.model import Facts, Objective, Priority, Requirement

ANY = "*"
"""The step that nobody named."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a `when`."""

    fact: str
    """`attempt`, `budget_left`, `hour` or `label.NAME`."""
    op: str
    value: float | str | tuple[str, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of these facts; of what is not known nothing is true."""
        if self.fact.startswith("label."):
            found: float | str | None = dict(facts.labels).get(self.fact.removeprefix("label."))
        else:
            found = getattr(facts, self.fact)
        if found is None:
            return False
        if isinstance(self.value, tuple):
            return str(found) in self.value
        if self.op in {"==", "!="}:
            same = str(found) == str(self.value) if isinstance(self.value, str) else found == self.value
            return same == (self.op == "==")
        if isinstance(found, str) or isinstance(self.value, str):
            return False
        return {
            ">=": found >= self.value,
            "<=": found <= self.value,
            ">": found > self.value,
            "<": found < self.value,
        }[self.op]


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
"""Reasoning efforts that the protocol knows, rising."""


@dataclass(frozen=True, slots=True)
class Explore:
    """How far what is not proven may be tried on live traffic: three limits that all hold."""

    share: float
    """Of the calls, at most; 0.05 is one in twenty."""
    max_cost: int
    """Nano-USD that explored attempts may cost in one UTC day: a hard ceiling."""
    max_loss: float
    """A candidate is explored no more once its quality is surely this far (0..1) below the baseline's."""
    scope: str = ""
    """Whose purse it is: empty for the whole policy's, else the step's own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What one step needs, whole."""

    objective: Objective = "cost"
    require: tuple[Requirement, ...] = ()
    tags: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    self_hosted: bool | None = None
    otherwise: Literal["baseline", "refuse", "relax"] = "baseline"
    relax: tuple[str, ...] = ()
    """Measures that may be given up, in this order, before the baseline serves."""
    failure_domains: int = 1
    use_baseline: bool = False
    """`use: baseline`: no choice is made."""
    verify: tuple[str, ...] = ()
    """Checks that an answer must pass before it counts, those of the client last."""
    explore: Explore | None = None
    """None: nothing unproven is ever tried."""
    effort: tuple[str, ...] = ()
    """Reasoning efforts that may be asked for, rising; empty: the model's own default."""
    hedge: bool = False
    """`allow: [hedge]`: a second deployment may be asked while the first is slow to begin."""
    sticky: Literal["", "loop", "conversation"] = ""
    """What keeps its model once it has one: a run, or a thread."""
    priority: Priority = "normal"
    """Which calls an engine that schedules by priority takes first."""
    lossless: bool = False
    """A target whose protocol cannot say all of a request is not asked."""

    @property
    def goal(self) -> str:
        """The objective in words."""
        return "maximize quality" if self.objective == "quality" else f"minimize {self.objective}"


@dataclass(frozen=True, slots=True)
class Case:
    """Rules that hold when all conditions do."""

    when: tuple[Condition, ...]
    text: str
    rules: Rules

    def holds(self, facts: Facts) -> bool:
        """Whether this case is the one."""
        return all(condition.holds(facts) for condition in self.when)


@dataclass(frozen=True, slots=True)
class Quality:
    """What quality is here, and how sure a promise must be."""

    outcome: str
    of: Literal["run", "step"] = "run"
    within: float = 86400.0
    """Seconds for an outcome to arrive."""
    confidence: float = 0.90


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read, checked and merged."""

    name: str
    baseline: str
    default: Rules
    steps: Mapping[str, Rules]
    cases: Mapping[str, tuple[Case, ...]]
    """Step (or `*`) -> its cases, first match wins."""
    quality: Quality | None = None
    run_cost: int | None = None
    """Nano-USD that one run may spend, over its calls of known cost; the gateway keeps the sum per run id. None: no limit."""
    run_time: float | None = None
    """Seconds that one run may take from its first call on; None: no limit."""
    digest: str = ""
    """Short hash of the canonical form: the version."""
    canonical: Mapping[str, Any] = field(default_factory=dict)
    """The policy as plain values, every step spelt out."""
    source: str = ""
    uses: frozenset[str] = frozenset()
    """Facts its cases look at, e.g. `hour`."""

    @property
    def confidence(self) -> float:
        """How sure a promise must be."""
        return self.quality.confidence if self.quality is not None else 0.90

    def rules(self, facts: Facts) -> Rules:
        """What this request's step needs."""
        step = facts.step if facts.step in self.steps else ANY
        for case in self.cases.get(step, ()):
            if case.holds(facts):
                return case.rules
        return self.steps.get(step, self.default)
