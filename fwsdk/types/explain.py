"""`POST /v1/explain`, `GET /v1/decisions/{id}`, `GET /v1/runs/{id}`: text for people beside the mapping it was made from."""

from typing import Any

from pydantic import Field

from fwsdk.types.base import Wire

Mapped = dict[str, Any]


class Plan(Wire):
    """What is done for a step and why; money in nano-USD, times in seconds, None is unknown."""

    decision_id: str = ""
    policy: str | None = None
    version: str | None = None
    step: str = ""
    prices: str | None = None
    objective: str | None = None
    confidence: float | None = None
    strategy: str = ""
    verify: list[str] = Field(default_factory=list)
    """Checks that an answer must pass before it counts."""
    effort: str | None = None
    """Reasoning effort asked for where the caller did not."""
    arms: list[Mapped] = Field(default_factory=list)
    """Of a mixture: what is drawn from, with weights."""
    by_text: Mapped | None = None
    """When the text of a call gives it its arm: `embedding`, `price` of a unit of quality, and what texts add."""
    explores: Mapped | None = None
    """What is not proven and may be tried instead, and how often."""
    reason: str = ""
    """`baseline`, `pinned`, `best_score`, ...: why this and nothing else."""
    baseline: str | None = None
    otherwise: str | None = None
    certificate: Mapped | None = None
    propensity: float | None = None
    explored: bool | None = None
    targets: list[Mapped] = Field(default_factory=list)
    """In the order in which they are tried."""
    planned: Mapped = Field(default_factory=dict)
    """Estimates of the whole plan, by measure."""
    requirements: list[Mapped] = Field(default_factory=list)
    candidates: list[Mapped] = Field(default_factory=list)
    """All that were considered, with `excluded` and `why`."""
    rejected: dict[str, int] = Field(default_factory=dict)
    runner_up: Mapped | None = None
    saves: Mapped | None = None
    near: Mapped | None = None
    """What binds: the requirement that alone keeps something cheaper out, and what giving way would save."""
    trust: Mapped | None = None
    """How earlier calls of the step compare with what was planned for them."""
    notes: list[Mapped] = Field(default_factory=list)
    command: str | None = None
    """The command that shows what giving way would bring."""
    evidence: Mapped = Field(default_factory=dict)
    served: str | None = None
    """The model the plan tries first."""
    actual: Mapped | None = None
    """What became of it; None before the call."""


class RunPlan(Wire):
    """A run: its steps with their decisions, and sums that are unknown as soon as one part is."""

    run: str = ""
    agent: str | None = None
    steps: list[Mapped] = Field(default_factory=list)
    calls: int = 0
    latency: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: int | None = None
    """Nano-USD."""
    estimated: list[str] = Field(default_factory=list)
    """Which of these sums hold estimates, because no provider reported them."""
    failed: int = 0
    excluded: list[Mapped] = Field(default_factory=list)


class Explanation(Wire):
    """Why something is, or was, done the way it is. Prints as its text."""

    text: str = ""
    plan: Plan | None = None
    """Of `POST /v1/explain`: what would be done."""
    decision: Plan | None = None
    """Of a decision: estimates beside actuals."""
    run: RunPlan | None = None
    """Of a run: its decisions as a tree."""

    def __str__(self) -> str:
        return self.text
