"""The three spans of the caller's side: invoke_agent, step, and the call as the agent saw it. No usage here: attempts carry it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from fwsdk._clock import SYSTEM, fresh_id
from fwsdk._money import UNKNOWN, ZERO, Money
from fwsdk._scope import ACCOUNT, SCOPE, Account, Scope
from fwsdk._tracer import tracer
from fwsdk.errors import BadRequest, ConnectionFailed, FwError

if TYPE_CHECKING:
    from contextvars import Token

_BAGGAGE = (
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "fw.run.id",
    "fw.step.name",
    "fw.step.index",
    "fw.experiment.variant",
)
_BAGGAGE_BYTES = 512
_PARAMS: dict[str, tuple[str, type[int] | type[float]]] = {
    "max_tokens": ("gen_ai.request.max_tokens", int),
    "max_completion_tokens": ("gen_ai.request.max_tokens", int),
    "seed": ("gen_ai.request.seed", int),
    "top_k": ("gen_ai.request.top_k", int),
    "temperature": ("gen_ai.request.temperature", float),
    "top_p": ("gen_ai.request.top_p", float),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", float),
    "presence_penalty": ("gen_ai.request.presence_penalty", float),
}
_KINDS = {"chat": "LLM", "embeddings": "EMBEDDING"}
_trace_context = TraceContextTextMapPropagator()


def error_type(exc: BaseException) -> str:
    """The failure's name in the closed set of `error.type`; knows other clients' errors by their status or kind."""
    if isinstance(exc, FwError):
        return exc.error_type
    if isinstance(exc, asyncio.CancelledError | GeneratorExit):
        return "client_disconnected"
    status = getattr(exc, "status_code", None)
    if isinstance(status, int):
        return str(status)
    names = " ".join(kind.__name__ for kind in type(exc).__mro__)
    if "Timeout" in names:
        return "timeout"
    return "connection_error" if "Connection" in names else "_OTHER"


def _identity(scope: Scope) -> dict[str, AttributeValue]:
    """What every layer carries, from the scope or from baggage; never invented."""
    found = {
        "gen_ai.agent.name": scope.agent or baggage.get_baggage("gen_ai.agent.name"),
        "gen_ai.conversation.id": scope.thread or baggage.get_baggage("gen_ai.conversation.id"),
        "fw.run.id": scope.run,
    }
    return {name: str(value) for name, value in found.items() if value}


def _fail(span: trace.Span, kind: str) -> None:
    """Status without a description: messages of providers echo prompts."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


class ScopeSpan:
    """An open invoke_agent or step span and its scope. `with` makes it current; without, call `end` yourself."""

    def __init__(self, span: Any, scope: Scope, account: Account | None, within: Any) -> None:
        """Made by `agent_span` and `step_span`; already started."""
        self.scope: Scope = scope
        self.context: Any = trace.set_span_in_context(span, within)
        """To start other spans under this one from a callback."""
        self.account: Account | None = account
        self._span: trace.Span = span
        self._over = False
        self._tokens: tuple[Token[Scope], Token[Account | None], Token[Context]] | None = None

    def end(self, exc: BaseException | None = None, *, outcome: str = "") -> None:
        """Close the span, once. `exc`: what went through; `outcome` of a step: success, error or skipped."""
        if self._over:
            return
        self._over = True
        if self.scope.step:
            self._span.set_attribute("fw.step.outcome", outcome or ("success" if exc is None else "error"))
        elif self.account is not None:
            self._span.set_attribute("fw.run.step.count", self.account.steps)
            if self.account.cost.usd is not None:
                self._span.set_attribute("fw.run.actual.cost", float(self.account.cost.usd))
        if exc is not None:
            _fail(self._span, error_type(exc))
        self._span.end()

    def __enter__(self) -> Self:
        self._tokens = (SCOPE.set(self.scope), ACCOUNT.set(self.account), context.attach(self.context))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._tokens is not None:
                scope, account, attached = self._tokens
                self._tokens = None
                context.detach(attached)
                SCOPE.reset(scope)
                ACCOUNT.reset(account)
        finally:
            self.end(exc)


def agent_span(
    agent: str,
    *,
    run: str | None = None,
    thread: str | None = None,
    budget: Money | str | float | None = None,
    labels: Mapping[str, str] | None = None,
    policy: str = "",
) -> ScopeSpan:
    """Open a run of an agent: span `invoke_agent {agent}`. `run` None: a fresh run id. `budget`: `"2 USD"`."""
    money = Money.of(budget)
    scope = Scope(
        agent=agent,
        run=run or fresh_id("run"),
        thread=thread or "",
        budget=money,
        labels=dict(labels or {}),
        policy=policy,
    )
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "invoke_agent",
        "openinference.span.kind": "AGENT",
        **_identity(scope),
    }
    if money.usd is not None:
        attributes["fw.run.budget.cost"] = float(money.usd)
    span = tracer().start_span(f"invoke_agent {agent}", kind=SpanKind.INTERNAL, attributes=attributes)
    return ScopeSpan(span, scope, Account(), None)


def step_span(
    step: str,
    *,
    index: int | None = None,
    attempt: int = 1,
    path: str = "",
    task: str = "",
    parent: ScopeSpan | None = None,
    verify: Callable[..., Any] | None = None,
) -> ScopeSpan:
    """Open a step of the current run (or of `parent`): span `step {step}`. `index` None: the next of the run."""
    outer = SCOPE.get() if parent is None else parent.scope
    account = ACCOUNT.get() if parent is None else parent.account
    if account is not None:
        account.steps += 1
        index = index or account.steps
    scope = replace(outer, step=step, attempt=attempt, path=path, task=task, index=index, verify=verify)
    attributes: dict[str, AttributeValue] = {
        "fw.step.name": step,
        "fw.step.attempt": attempt,
        "openinference.span.kind": "CHAIN",
        **_identity(scope),
    }
    if index is not None:
        attributes["fw.step.index"] = index
    within = None if parent is None else parent.context
    span = tracer().start_span(f"step {step}", within, kind=SpanKind.INTERNAL, attributes=attributes)
    return ScopeSpan(span, scope, account, within)


def _baggage(scope: Scope, within: Context | None) -> str:
    """The allow-list as a `baggage` header; whatever else the program put there stays home."""
    known: dict[str, object] = {
        **baggage.get_all(within),
        **_identity(scope),
        **({"fw.step.name": scope.step} if scope.step else {}),
        **({"fw.step.index": scope.index} if scope.step and scope.index else {}),
    }
    found: list[str] = []
    for name in _BAGGAGE:
        entry = f"{name}={quote(str(known[name]), safe='')}" if name in known else ""
        if entry and len(",".join([*found, entry])) <= _BAGGAGE_BYTES:
            found.append(entry)
    return ",".join(found)


class CallSpan:
    """One call as the agent saw it, retries included: span `chat {model}`. Ends with `finish` or `fail`, or with its `with` block."""

    def __init__(self, span: Any, scope: Scope, account: Account | None, within: Any) -> None:
        """Made by `call_span`; already started."""
        self.scope: Scope = scope
        self.context: Any = trace.set_span_in_context(span, within)
        self.cost: Money = UNKNOWN
        self.decision_id: str = ""
        self.headers: dict[str, str] = scope.headers()
        """To send: who is calling, and the trace."""
        _trace_context.inject(self.headers, self.context)
        if entries := _baggage(scope, within):
            self.headers["baggage"] = entries
        self._span: trace.Span = span
        self._account = account
        self._start = SYSTEM.monotonic()
        self._chunk_seen = False
        self._over = False
        self._attached: Token[Context] | None = None

    def first_chunk(self) -> None:
        """The first piece of a stream is here; later calls change nothing."""
        if not self._chunk_seen:
            self._chunk_seen = True
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", SYSTEM.monotonic() - self._start)

    def response(self, headers: Mapping[str, str]) -> None:
        """Read the gateway's answer headers: decision id and cost. Names in any case."""
        lower = {name.lower(): value for name, value in headers.items()}
        if decision := lower.get("x-fw-decision-id", ""):
            self.decision_id = decision
            self._span.set_attribute("fw.decision.id", decision)
        if cost := lower.get("x-fw-cost"):
            self.paid(cost)

    def paid(self, cost: Money | str | float | None) -> None:
        """What the call cost, once it is known; what cannot be read stays unknown."""
        try:
            self.cost = Money.of(cost)
        except ValueError:
            self.cost = UNKNOWN

    def attributes(self, attributes: Mapping[str, Any]) -> None:
        """More attributes: an in-process call has no gateway span to carry them."""
        self._span.set_attributes(dict(attributes))

    def finish(
        self,
        model: str | None = None,
        id: str | None = None,  # noqa: A002 - the wire's own name
        finish_reasons: Sequence[str] = (),
    ) -> None:
        """The call succeeded. `model`, `id`: what the answer says of itself."""
        if self._over:
            return
        if model:
            self._span.set_attribute("gen_ai.response.model", model)
        if id:
            self._span.set_attribute("gen_ai.response.id", id)
        if finish_reasons:
            self._span.set_attribute("gen_ai.response.finish_reasons", list(finish_reasons))
        self._close(self.cost)

    def fail(self, exc: BaseException) -> None:
        """The call failed with `exc`. What never reached a model costs nothing; anything else is unknown unless told."""
        if self._over:
            return
        if isinstance(exc, FwError):
            self.attributes(exc.telemetry)
        _fail(self._span, error_type(exc))
        free = isinstance(exc, ConnectionFailed | BadRequest) and self.cost.usd is None
        self._close(ZERO if free else self.cost)

    def abandon(self) -> None:
        """The caller wants no more of the stream: no failure once something had come."""
        if self._chunk_seen:
            self._close(self.cost)
        else:
            self.fail(GeneratorExit())

    def _close(self, cost: Money) -> None:
        if self._over:
            return
        self._over = True
        if self._account is not None:
            self._account.add(cost)
        self._span.end()

    def __enter__(self) -> Self:
        self._attached = context.attach(self.context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._attached is not None:
            context.detach(self._attached)
            self._attached = None
        if exc is not None:
            self.fail(exc)
        else:
            self.finish()


def _request_attributes(params: Mapping[str, Any]) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for name, (attribute, kind) in _PARAMS.items():
        value = params.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[attribute] = kind(value)
    return found


def call_span(
    model: str,
    *,
    stream: bool,
    scope: Scope | None = None,
    operation: str = "chat",
    url: str = "",
    params: Mapping[str, Any] | None = None,
    parent: ScopeSpan | None = None,
) -> CallSpan:
    """Open a call. `model`: as asked for; `url`: of the gateway; `params`: the request's fields, of which numbers are kept.

    The call belongs to `parent` when given, else to whatever step and run are current.
    """
    account = ACCOUNT.get() if parent is None else parent.account
    if scope is None:
        scope = SCOPE.get() if parent is None else parent.scope
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "fw",
        "gen_ai.request.model": model,
        "openinference.span.kind": _KINDS.get(operation, "LLM"),
        **_identity(scope),
        **_request_attributes(params or {}),
    }
    if stream:
        attributes["gen_ai.request.stream"] = True
    if url:
        parts = urlsplit(url)
        attributes["server.address"] = parts.hostname or ""
        attributes["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
    within = None if parent is None else parent.context
    span = tracer().start_span(f"{operation} {model}", within, kind=SpanKind.CLIENT, attributes=attributes)
    return CallSpan(span, scope, account, within)
