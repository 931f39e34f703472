"""The words every other module speaks: frozen values, no behaviour beyond arithmetic on themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from fw_policies.by_text import ByText
    from fw_policies.lock import Lock

NANO_USD = 1_000_000_000
"""Nano-USD in one US dollar. All money is an integer number of these."""

Objective = Literal["cost", "latency", "ttft", "quality"]
Priority = Literal["low", "normal", "high"]
Strategy = Literal["single", "fall_back", "cascade", "mixture"]
Reason = Literal[
    "best_score",  # proven to meet every requirement, and best by the objective
    "only_eligible",
    "explored",  # drawn within `explore`'s limits; its first target is not proven
    "pinned",  # the caller named a configured model
    "baseline",  # nothing else is proven: today's model serves
    "default",
    "degraded",  # the baseline itself cannot run; the stand-in of the config serves
    "infeasible",  # nothing may serve; `otherwise: refuse`
]
Exclusion = Literal[
    "",
    "unhealthy",
    "cooldown",
    "rate_limited",
    "over_budget",
    "capability",
    "context_length",
    "region",
    "policy",
    "deadline",
    "no_credential",
    "quality",
    "ttft",
    "latency",
    "cost",
    "unknown",
    "deprecated",
]
"""Why a candidate may not serve; "" means that it may. `unknown`: not proven, which satisfies nothing."""


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Price by tokens, in nano-USD per million tokens. `cached_input` None: charged as `input`."""

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """Price of a self-hosted deployment, in nano-USD per hour of the machine."""

    hour: int


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Target:
    """One way to run one model: what an answer's quality depends on (`model`) and where it runs (`deployment`)."""

    model: str
    """The name in the config: what policies, evidence and people call it."""
    deployment: str
    """Unique id, `model@place`, e.g. `qwen3-coder-30b@gpu-1`."""
    provider: str
    """Row of the provider registry, e.g. `vllm`, `openai`."""
    upstream_model: str
    """The exact string sent upstream as `model`."""
    price: TokenPrice | MachinePrice | None = None
    """None: the price is unknown, and so is every cost computed from it."""
    capabilities: frozenset[str] = frozenset()
    """Of: chat, embeddings, tools, tool_choice, parallel_tools, json_schema, json_mode, vision, reasoning, stream."""
    context: int | None = None
    """Context window in tokens (input + output)."""
    max_output: int | None = None
    region: str | None = None
    zone: str | None = None
    self_hosted: bool = False
    tags: frozenset[str] = frozenset()
    deprecated_on: str | None = None
    """ISO date on which the provider retires the model."""
    order: int = 0
    """Place among the model's deployments as they are listed: the first is taken while nothing else tells them apart."""

    @property
    def label(self) -> str:
        """`provider/model@deployment-place`, the form telemetry uses for candidates."""
        return f"{self.provider}/{self.deployment}"


class Facts(NamedTuple):
    """What is known of one request before it is served. Never the prompt. Hashable: equal facts get equal plans.

    Sizes are rounded up by `fw_policies.estimate.quantise` before they come here, so that equal-sized requests share a plan.
    """

    agent: str = ""
    step: str = "*"
    attempt: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted (name, value) pairs."""
    needs: frozenset[str] = frozenset()
    """Capabilities this request uses: tools, json_schema, vision, stream, ..."""
    input_tokens: int = 0
    """Estimated, rounded up."""
    max_output_tokens: int | None = None
    """The caller's own limit, if any."""
    budget_left: int | None = None
    """Nano-USD left to the run, rounded down; None: no budget."""
    hour: int | None = None
    """Hour of the day, UTC; filled only for policies that ask."""
    deadline: float | None = None
    """Seconds left, rounded down to whole seconds; filled only when short enough to matter."""
    model: str | None = None
    """A configured model's name when the caller pinned one; None lets the policy choose."""
    checks: tuple[str, ...] = ()
    """Checks of its own that the client says it will run; `*` for whichever its step names."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity that was observed, with what is not known about it. No observation: there is no Estimate (None)."""

    mean: float
    low: float
    high: float
    """Bounds of the two-sided interval at `confidence`."""
    n: float
    """Effective number of observations behind it."""
    confidence: float = 0.90
    p95: float | None = None
    """The upper confidence bound of the 95th percentile where one exists (n large enough)."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one candidate, or one whole plan, is expected to do. None is unknown. Cost in nano-USD, times in seconds."""

    quality: Estimate | None = None
    ttft: Estimate | None = None
    latency: Estimate | None = None
    cost: Estimate | None = None
    output_tokens: Estimate | None = None
    tpot: Estimate | None = None
    """Seconds per output token after the first, of answers that were streamed."""

    @property
    def answers(self) -> int:
        """Those behind its latency."""
        return 0 if self.latency is None else int(self.latency.n)

    def at(self, input_tokens: int) -> "Outlook":
        """Itself, whatever the size."""
        return self

    @property
    def cached(self) -> float | None:
        """Not known."""
        return None

    @property
    def judged(self) -> tuple[float, float] | None:
        """How often quality was reported, and the sum."""
        return None if self.quality is None else (self.quality.n, self.quality.mean * self.quality.n)

    @property
    def memory(self) -> dict[Any, Any]:
        """Nothing is kept."""
        return {}

    def mean(self, measure: str, input_tokens: int) -> float | None:
        """Its own mean, whatever the size."""
        found: Estimate | None = getattr(self, measure)
        return None if found is None else found.mean

    def count(self, measure: str) -> float:
        """Observations behind one measure; 0: it is not known."""
        found: Estimate | None = getattr(self, measure)
        return 0 if found is None else found.n

    def spread(self, input_tokens: int, share: float) -> Mapping[str, tuple[float, float]]:
        """Not known from estimates alone."""
        return {}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One resolved line of `require`, as the optimizer checks it."""

    measure: Literal["quality", "cost", "latency", "ttft", "tpot"]
    text: str
    """As a person wrote it, e.g. `p95 ttft <= 2s`."""
    percentile: float | None
    """0.95 for p95; None: a hard cap (cost) or a mean (quality)."""
    limit: float | None
    """In the measure's own unit (nano-USD, seconds, 0..1); None when relative to a baseline that is not measured yet."""
    relative: float | None = None
    """0.98 for `>= 98% of baseline`."""
    margin: float | None = None
    """0.01 for `>= baseline - 1pt`."""


@dataclass(frozen=True, slots=True)
class Note:
    """Why a rule changed the plan, in one sentence."""

    rule: str
    text: str


class Known(Protocol):
    """What is known of a target at a step, to be had for a size of request."""

    @property
    def quality(self) -> Estimate | None:
        """Which does not depend on the size."""
        ...

    @property
    def cached(self) -> float | None:
        """The share of input that is expected to come from the provider's cache; None: nobody reported any."""
        ...

    @property
    def answers(self) -> int:
        """Answers seen of the target at the step, whatever came of them."""
        ...

    @property
    def judged(self) -> tuple[float, float] | None:
        """How often quality was reported, and the sum: had without the bounds of `quality`; None: never."""
        ...

    @property
    def memory(self) -> dict[Any, Any]:
        """What rules found out from it and may use again, for other requests and in later worlds; see `rules.ask.kept`."""
        ...

    def mean(self, measure: str, input_tokens: int) -> float | None:
        """The mean of one measure of `at`, had without the rest. Of all measures, only cost depends on the size."""
        ...

    def count(self, measure: str) -> float:
        """Observations behind one measure of `at`, whatever the size; 0: it is not known."""
        ...

    def at(self, input_tokens: int) -> Outlook:
        """The outlook for a request of this size."""
        ...

    def spread(self, input_tokens: int, share: float) -> Mapping[str, tuple[float, float]]:
        """Where `latency` and `cost` of the next call lie with probability `share`, as far as that is known."""
        ...


class Candidate(NamedTuple):
    """A target as it was looked at for one decision. Its outlook is worked out when it is asked for: most are never asked."""

    target: Target
    known: Known
    excluded: Exclusion = ""
    why: str = ""
    """For people: `p95 ttft 3.1 s > 2 s`; empty when nothing is wrong."""
    rank: float | None = None
    """Public prior, for order only; never proof."""
    size: int = 0
    """Input tokens of the request."""

    @property
    def outlook(self) -> Outlook:
        """What to expect of it for this request."""
        return self.known.at(self.size)

    @property
    def cached(self) -> float | None:
        """The share of its input that is expected to come from the provider's cache; None: nobody reported any."""
        return self.known.cached

    def mean(self, measure: str) -> float | None:
        """What is expected of one measure for this request, had without the rest of the outlook."""
        return self.known.mean(measure, self.size)


@dataclass(frozen=True, slots=True)
class Proof:
    """How what serves stands to one requirement, in the requirement's own unit (nano-USD, seconds, 0..1)."""

    holds: bool
    value: float | None
    """The bound that is proven: a lower one of quality, an upper one of everything else. None: none is."""
    limit: float | None
    """What it is held against; None while a relative floor is not known."""


@dataclass(frozen=True, slots=True)
class Near:
    """The best that one requirement alone keeps out: what giving way would buy."""

    text: str
    """The requirement."""
    deployment: str
    gap: float
    """By how much it is missed, in the requirement's own unit."""
    saves: float
    """Nano-USD that a call would cost less."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Plan:
    """What will be done for a request, and why. Immutable; rules return changed copies."""

    policy: str
    version: str
    """Short digest of the policy's text after layering."""
    step: str
    objective: str
    """For people, e.g. `minimize cost`; empty for a pinned call."""
    strategy: Strategy
    reason: Reason
    targets: tuple[Target, ...]
    """In the order they are tried. Empty only when the reason is `infeasible`."""
    candidates: tuple[Candidate, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    proofs: tuple[Proof, ...] = ()
    """How what serves stands to each of the requirements, in their order; empty when nobody has looked."""
    near: Near | None = None
    """What binds; None: nothing does, or it is not known."""
    outlook: Outlook = field(default_factory=Outlook)
    """Of the whole plan."""
    reach: tuple[float | None, ...] = ()
    """For each target, the share of calls that are expected to come to it; None: not known."""
    notes: tuple[Note, ...] = ()
    confidence: float = 0.90
    baseline: str | None = None
    prices: str = ""
    """Version of the price table the plan was made with."""
    propensity: float = 1.0
    """Probability with which this plan was drawn among those that could have been, given the facts."""
    explored: bool = False
    """Drawn by `explore`: its first target is not proven."""
    verify: tuple[str, ...] = ()
    """Names of the checks that an answer must pass before it counts; built-in ones, or one of the client's own."""
    arms: tuple[tuple[float, "Plan"], ...] = ()
    """Of a mixture: each arm's weight and plan; the weights sum to 1."""
    by_text: "ByText | None" = None
    """Gives each call its arm by its text, so that the weights are shares that are expected. None: what is drawn, is drawn by chance."""
    effort: str | None = None
    """Reasoning effort to ask for where the caller did not say; None leaves it to the model."""
    priority: Priority = "normal"
    """What an engine that schedules by priority is told."""
    lossless: bool = False
    """A target whose protocol cannot say all of the request is passed over."""
    exploration: "Exploration | None" = None
    """What may be tried in its place now and then; None: nothing."""
    otherwise: str = "baseline"
    hedge: bool = False
    """A second deployment of the first target's model may be asked while that one is quiet for unusually long."""
    failure_domains: int = 1
    """How many of its first targets must share no provider and no zone, where that can be."""
    certificate: Mapping[str, float | str] | None = None
    """What proves its line about quality: lock, promise, outcome, of, confidence, quality, slack, tested, expires. None: uncertified."""
    evidence: Mapping[str, float | str | None] = field(default_factory=dict)
    """What stands behind it and what is missing, for EXPLAIN."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What is not proven and may be tried instead of a plan, within three limits."""

    share: float
    """Probability with which something of it is tried."""
    max_cost: int
    """Nano-USD that explored attempts may cost in one UTC day."""
    purse: str
    """Name of the account that this is paid from."""
    trials: tuple[tuple[float, Target], ...]
    """Each with its probability, given that something is tried; they sum to 1. `rules.explore.trial` makes the plan of the one drawn."""
    shadows: frozenset[str] = frozenset()
    """Deployments of which too little was seen to let them answer anybody: they are asked beside a call, and only measured."""
    unseen: bool = False
    """Nothing that is explored may ever be served: no loss of quality is allowed."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything but the request that a decision depends on: one frozen snapshot."""

    targets: tuple[Target, ...]
    blocked: Mapping[str, Exclusion]
    """By deployment id: why it may not serve now (no_credential, unhealthy, cooldown, ...). Absent: it may."""
    estimates: "Estimates"
    today: str
    """ISO date, UTC."""
    prices: str = ""
    stand_in: str | None = None
    """A configured model that serves, marked `degraded`, when the baseline itself cannot."""
    locks: Mapping[str, "Lock"] = field(default_factory=dict)
    """Policy -> what was compiled for it."""
    priors: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(family or '*', model) -> public prior quality 0..1. Orders, never certifies."""
    voids: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(policy, step) -> why and since when the certificate of its lock is void, by what came of it."""
    drifted: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(agent, step) -> what moved there, so that what was known before is void."""
    embedding: str = ""
    """Digest of the embedding that texts can be read with; empty: none can."""
    texts: bool = False
    """What calls say is kept, embedded: a model may be proven for some texts that fails on average."""


class Estimates:
    """What statistics know, frozen: implemented by `fw_policies.estimate`; this base knows nothing."""

    __slots__ = ("memory",)

    def __init__(self) -> None:
        """Nothing is remembered yet."""
        self.memory: dict[Any, Any] = {}
        """What rules found out from these estimates and may use again for other requests; see `rules.ask.kept`."""

    def looking(self, facts: Facts, *, outcome: str = "", confidence: float = 0.90) -> "Callable[[Target], Known]":
        """What finds what is known of each target at this step."""
        return lambda target: self.outlook(facts, target, outcome=outcome, confidence=confidence)

    def outlook(self, facts: Facts, target: Target, *, outcome: str = "", confidence: float = 0.90) -> Outlook:
        """What to expect of `target` for a request with `facts`; parts never observed are None. Quality is that of `outcome`."""
        raise NotImplementedError
