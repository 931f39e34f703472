"""What a framework adapter needs of the SDK: who is calling, and the three spans with the headers they send. Stable, and nothing else.

Every span starts when it is made. `with` makes it current and ends it; from callbacks, keep it and call `end` (or `finish`, `fail`),
passing `parent=` to what belongs under it.
"""

from fwsdk._scope import Scope, current
from fwsdk._spans import CallSpan, ScopeSpan, agent_span, call_span, error_type, step_span

__all__ = ["CallSpan", "Scope", "ScopeSpan", "agent_span", "call_span", "current", "error_type", "step_span"]
