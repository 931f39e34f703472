"""Watches LangGraph at work, so that graphs, nodes and calls are recognised with no code of the user's.

A callback handler sees every run begin and end. The root of a graph becomes a run of an agent, a node becomes a step; a chat model
learns, just before it is called, which node it is in. Nothing is kept in threads: a call that has lost its context has no identity,
never a stale one.
"""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from langgraph.runtime import get_runtime

from fwsdk import Money
from fwsdk.adapters import Scope, ScopeSpan, agent_span, current, step_span

NODE = "langgraph_node"
NAMESPACE = "langgraph_checkpoint_ns"
_FALLBACK = "agent"
"""Name of a graph that was compiled without one."""


@dataclass(slots=True)
class _Seen:
    """One run that is under way."""

    parent: UUID | None
    name: str
    node: str = ""
    span: ScopeSpan | None = None
    """The step that this run is, if it is a node."""
    agent: ScopeSpan | None = None
    """The agent's run that was opened for this root."""


@dataclass(frozen=True, slots=True)
class Here:
    """Where a chat model is being called."""

    span: ScopeSpan | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


NOWHERE = Here()
HERE: ContextVar[Here] = ContextVar("fw_agents.here", default=NOWHERE)


class Watch(BaseCallbackHandler):
    """Opens and closes the spans of graphs and nodes."""

    run_inline = True
    raise_error = False

    def __init__(self) -> None:
        """One for the whole process."""
        self._runs: dict[UUID, _Seen] = {}
        self._lock = threading.Lock()

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = metadata or {}
        name = str(kwargs.get("name") or "")
        seen = _Seen(parent_run_id, name)
        with self._lock:
            parent = self._runs.get(parent_run_id) if parent_run_id is not None else None
            self._runs[run_id] = seen
        node = str(found.get(NODE) or "")
        if node and node == name and (parent is None or not parent.node):
            seen.node = node
            seen.span = self._step(seen, node, found)

    def _step(self, seen: _Seen, node: str, metadata: Mapping[str, Any]) -> ScopeSpan:
        outer = self._above(seen)
        if outer is None and not current().run:
            outer = self._agent(seen, metadata)
        step = _told(metadata) or node
        index = metadata.get("langgraph_step")
        return step_span(
            step,
            index=index if isinstance(index, int) and index > 0 else None,
            path=path_of(metadata),
            parent=outer,
        )

    def _above(self, seen: _Seen) -> ScopeSpan | None:
        """The nearest step or agent of ours that this run is in."""
        with self._lock:
            parent = seen.parent
            while parent is not None:
                found = self._runs.get(parent)
                if found is None:
                    return None
                if found.span is not None or found.agent is not None:
                    return found.span or found.agent
                parent = found.parent
        return None

    def _agent(self, seen: _Seen, metadata: Mapping[str, Any]) -> ScopeSpan:
        """Open the agent's run for the root above a node."""
        with self._lock:
            root = seen
            while root.parent is not None and root.parent in self._runs:
                root = self._runs[root.parent]
        name = str(metadata.get("lc_agent_name") or "") or (
            root.name if root.name not in {"", "LangGraph"} else _FALLBACK
        )
        thread = metadata.get("thread_id")
        root.agent = agent_span(name, thread=str(thread) if thread is not None else None, budget=_budget())
        return root.agent

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._over(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._over(run_id, None if _is_interrupt(error) else error)

    def _over(self, run_id: UUID, error: BaseException | None) -> None:
        with self._lock:
            seen = self._runs.pop(run_id, None)
        if seen is None:
            return
        for span in (seen.span, seen.agent):
            if span is not None:
                span.end(error)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        span = self._above(_Seen(parent_run_id, ""))
        HERE.set(Here(span, dict(metadata or {})))


def _is_interrupt(error: BaseException) -> bool:
    """A graph that waits for a person has not failed."""
    return any(kind.__name__ in {"GraphInterrupt", "GraphBubbleUp", "ParentCommand"} for kind in type(error).__mro__)


def _told(metadata: Mapping[str, Any]) -> str:
    """A step's own name: `add_node(..., metadata={"step": "plan"})`, else what a middleware calls itself."""
    for key in ("step", "lc_source"):
        value = metadata.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def path_of(metadata: Mapping[str, Any]) -> str:
    """The way down through nested graphs, without the random parts: `fix:7c…|model:91…` is `fix/model`."""
    namespace = str(metadata.get(NAMESPACE) or "")
    return "/".join(part.partition(":")[0] for part in namespace.split("|") if part)


def _task() -> tuple[str, int]:
    """LangGraph's task id, the same when a node is retried or resumed, and which attempt this is."""
    try:
        found = get_runtime().execution_info
    except RuntimeError:
        return "", 1
    if found is None:
        return "", 1
    return found.task_id or "", max(1, found.node_attempt or 1)


def _budget() -> str | None:
    """`budget_usd` of the graph's context, if the program gave one."""
    try:
        context: Any = get_runtime().context
    except RuntimeError:
        return None
    value = context.get("budget_usd") if isinstance(context, Mapping) else getattr(context, "budget_usd", None)
    return f"{value} USD" if isinstance(value, int | float) and not isinstance(value, bool) else None


def scope_of(here: Here) -> Scope:
    """Who a call is for: the step it is in, with what the node's runtime knows. Precedence: call or node metadata, then the node."""
    scope = here.span.scope if here.span is not None else current()
    step = _told(here.metadata)
    if step and step != scope.step:
        scope = replace(scope, step=step)
    task, attempt = _task()  # known inside the node only, not yet when it starts
    if task:
        scope = replace(scope, task=task, attempt=attempt)
    budget = _budget()
    if budget and scope.budget.usd is None:
        scope = replace(scope, budget=Money.of(budget))
    agent = str(here.metadata.get("lc_agent_name") or "")
    if agent and here.span is not None and scope.agent != agent:
        scope = replace(scope, agent=agent)
    return scope


def idempotency_key(scope: Scope, messages: Sequence[Any], parameters: Mapping[str, Any]) -> str:
    """`task:sha256(messages, parameters)`: the same for a node that is retried or resumed. Empty without a task."""
    if not scope.task:
        return ""
    plain = [[getattr(m, name, None) for name in ("type", "content", "tool_calls", "tool_call_id")] for m in messages]
    text = json.dumps([plain, parameters], sort_keys=True, default=str)
    return f"{scope.task}:{hashlib.sha256(text.encode()).hexdigest()}"


_WATCH: ContextVar[Any] = ContextVar("fw_agents.watch", default=Watch())  # noqa: B039 - one for all contexts is what is wanted
register_configure_hook(_WATCH, inheritable=True)
