"""What passes between the layers of the gateway: a call coming in, a fault on the way, a record going out."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from fw_policies.model import Plan, Target

Operation = Literal["chat", "embeddings", "text_completion", "fw.count_tokens", "fw.relay"]
AttemptReason = Literal["initial", "retry", "fallback", "hedge", "cascade", "shadow"]
AttemptOutcome = Literal["success", "error", "timeout", "cancelled", "discarded", "rejected"]
CallOutcome = Literal["direct", "retried", "fell_back", "cascaded", "hedged", "cached", "blocked", "failed"]
ErrorType = str
"""The closed set of telemetry: an HTTP status as text, or timeout, connection_error, stream_interrupted, client_disconnected,
context_length_exceeded, content_filter, guardrail_blocked, budget_exceeded, rate_limited_local, no_candidate, invalid_response, _OTHER."""


class Identity(NamedTuple):
    """Who is calling, as claimed by the x-fw-* headers (or by `model: agent/step`). Empty text: not said."""

    agent: str = ""
    step: str = ""
    run: str = ""
    thread: str = ""
    path: str = ""
    task: str = ""
    attempt: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    policy: str = ""
    budget: int | None = None
    """Nano-USD left to the run; None: no budget was named."""
    idempotency_key: str = ""


class Trace(NamedTuple):
    """W3C trace context of a call: where its spans hang."""

    trace_id: str
    parent_id: str = ""
    """Span id of the caller; empty when the trace begins here."""
    flags: int = 1
    """A bit field: 1 sampled, 2 random trace id."""
    state: str = ""
    """`tracestate`, passed on untouched."""

    @property
    def sampled(self) -> bool:
        """Whether spans of this trace are kept."""
        return bool(self.flags & 1)


class Origin(NamedTuple):
    """The call that another is asked beside."""

    decision_id: str
    trace_id: str
    span_id: str


class Asked(NamedTuple):
    """What of a request's parameters decisions look at, whichever protocol it came in."""

    max_output: int | None = None
    """The caller's own limit on output tokens."""
    choices: int = 1
    """Answers asked for."""
    effort: bool = False
    """The caller itself says how hard the model should think."""


@dataclass(slots=True)
class Call:
    """One request, parsed as far as it must be. `body` is what the client sent, byte for byte."""

    decision_id: str
    request_id: str
    operation: Operation
    route: str
    """The matched route, e.g. `/v1/chat/completions`."""
    body: bytes
    fields: Mapping[str, Any]
    """The body, parsed."""
    model: str
    """As asked for: `auto`, `agent/step`, or a configured name."""
    stream: bool
    wants_usage: bool
    """The client itself asked for the usage chunk of a stream."""
    identity: Identity
    trace: Trace
    span_id: str
    """The span that route and attempts hang under: our SERVER span, or, embedded, the caller's own chat span."""
    started_ns: int
    """Wall clock, for timestamps."""
    started: float
    """Monotonic seconds, for durations."""
    deadline: float
    """Monotonic seconds by which everything is over."""
    protocol: str = "openai_chat"
    """The protocol it came in: a name of `providers.protocols`."""
    asked: Asked = field(default_factory=Asked)
    needs: frozenset[str] = frozenset()
    """Capabilities that the request uses, read from its body."""
    checks: tuple[str, ...] = ()
    """Checks of its own that the client says it will run (`x-fw-verify`)."""
    receipt: bool = False
    """The client reads a receipt at the end of a stream (`x-fw-receipt: 1`)."""
    embedded: bool = False
    """In-process call of the SDK: there is no SERVER span, its attributes go to the caller's chat span."""
    path: str = ""
    """Where it goes at an upstream, for a protocol that may go anywhere."""
    passed: Mapping[str, str] = field(default_factory=dict)
    """Headers of the caller that its protocol sends upstream along with it."""
    user_agent: str = ""
    key_id: str = ""
    scheme: str = "http"
    server: tuple[str, int] = ("", 0)
    shadow: Origin | None = None
    """Asked beside a call, for measurement alone: nobody waits for it, and nobody is told."""


@dataclass(slots=True)
class Usage:
    """Tokens as the provider reported them; None: not reported. Input includes cached, output includes reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt gave no answer: a value, made at the border with the upstream."""

    error_type: ErrorType
    message: str
    """For people; scrubbed of prompts and secrets."""
    status: int | None = None
    """The upstream's status, if one came."""
    retryable: bool = True
    """False: the request itself is at fault; every target would say the same."""
    retry_after: float | None = None
    """Seconds the upstream asked for."""
    body: bytes | None = None
    """The upstream's own error body, relayed when this fault ends the call."""
    content_type: str = "application/json"
    protocol: str = ""
    """In which `body` is written."""
    ours: bool = False
    """Nothing was sent: the request is the caller's to mend, unless another target can take it as it is."""
    exception: str = ""
    """Class name of the exception it was made from."""
    key: bool = False
    """The provider refused the gateway's key, or what it may spend is spent: another try there says the same for a while."""


@dataclass(slots=True)
class Attempt:
    """What became of one try at one target; filled as it happens. Times are monotonic seconds unless they end in `_ns`."""

    number: int
    reason: AttemptReason
    target: Target
    span_id: str
    started_ns: int
    started: float
    ended: float | None = None
    outcome: AttemptOutcome | None = None
    error_type: ErrorType = ""
    """Empty on success and for a discarded or deliberately cancelled attempt."""
    status: int | None = None
    exception: str = ""
    message: str = ""
    follows: int | None = None
    """Number of the attempt this one follows."""
    trigger: ErrorType = ""
    backoff: float = 0.0
    ttft: float | None = None
    """Seconds from `started` to the first event (stream) that came back."""
    first_content: float | None = None
    """Seconds from `started` to the first visible content."""
    chunks: int = 0
    max_gap: float = 0.0
    stream_outcome: str = ""
    """completed | client_disconnected | upstream_interrupted; empty when not streaming."""
    usage: Usage | None = None
    cost: int | None = None
    """Nano-USD; None: unknown."""
    guess: Usage | None = None
    """Tokens with estimates for those that were not reported, for the books alone; None: nothing is missing, or nothing is known."""
    guessed_cost: int | None = None
    """Nano-USD by `guess`, where `cost` is unknown."""
    cost_source: str = "local"
    response_id: str = ""
    response_model: str = ""
    finish_reasons: tuple[str, ...] = ()
    server: tuple[str, int] = ("", 0)
    resends: int = 0
    protocol: str = ""
    """In which it was asked; empty: the caller's own."""
    lost: tuple[str, ...] = ()
    """What of the request its protocol cannot say, by where it stood."""
    check: str = ""
    """The check that rejected it, or the client's own that was asked last; empty: none."""
    accepted: bool | None = None
    """Whether its answer passed the plan's checks; None: nothing judged it."""


@dataclass(slots=True)
class Record:
    """Everything that is known of one call when it is over: the one row that ledger, statistics, spans, metrics and logs are made of."""

    call: Call
    plan: Plan | None = None
    routed_ns: int = 0
    """Wall clock at which planning began."""
    routing: float = 0.0
    """Seconds that planning took."""
    attempts: list[Attempt] = field(default_factory=list)
    status: int = 0
    """HTTP status sent to the client; 499 when it left first."""
    ended: float = 0.0
    outcome: CallOutcome = "direct"
    error_type: ErrorType = ""
    served: Attempt | None = None
    """The attempt whose answer the client got."""
    accepted: float | None = None
    """Monotonic seconds at which a held answer was given to the client; None: it was not held."""
    text: bytes | None = None
    """What the call says, embedded, where a plan had to know."""
    said: str | None = None
    """The text itself, where the config asks for its embedding: until the ledger's thread has made one, and no longer."""

    @property
    def cost(self) -> int | None:
        """Nano-USD over all attempts, losers included; None when any attempt's cost is unknown, or none was made."""
        if not self.attempts:
            return None
        total = 0
        for attempt in self.attempts:
            if attempt.cost is None:
                return None
            total += attempt.cost
        return total

    @property
    def guessed_cost(self) -> int | None:
        """Nano-USD over all attempts, with estimates where the cost is unknown; None: nothing was estimated, or some attempt has no estimate."""
        found = [one.guessed_cost if one.cost is None else one.cost for one in self.attempts]
        guessed = any(one.cost is None for one in self.attempts) and None not in found
        return sum(cost or 0 for cost in found) if guessed else None


@dataclass(slots=True)
class Reply:
    """What goes back to the client: a whole body, or bytes as they come. A stream must be closed (`aclose`) when abandoned."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]
    record: Record | None = None


@dataclass(slots=True)
class Request:
    """One request to any endpoint, read whole, whichever door it came through."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Case-insensitive, or in lower case."""
    body: bytes
    request_id: str
    started_ns: int
    started: float
    embedded: bool = False
    scheme: str = "http"
    server: tuple[str, int] = ("", 0)
    key_id: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Parts of the path, e.g. `id`."""
