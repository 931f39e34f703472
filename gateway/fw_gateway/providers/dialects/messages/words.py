"""The words of Anthropic Messages, and what they are called between dialects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fw_gateway.providers.form import Extra, Losses, Reason
from fw_gateway.providers.wire import lose, put

NAME: Final = "anthropic_messages"

REASONS: Final[Mapping[str, Reason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context",
}
WORDS: Final[Mapping[Reason, str]] = {
    **{reason: word for word, reason in REASONS.items()},
    "content_filter": "refusal",
    "": "end_turn",
}
EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
BUDGETS: Final[Mapping[str, int]] = {"low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 65_536}
"""Tokens to think with that stand for an effort."""
LEAST_BUDGET: Final = 1_024

CARRIED: Final = frozenset({"cache_control"})
"""Members that other dialects use in the same sense."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How one body is written."""

    own: bool
    """What is written was read from this dialect: everything goes back as it stood."""
    dialect: str
    """Whose words they are."""
    losses: Losses = field(default_factory=Losses)
    asking: bool = True
    """A request is written, not an answer."""

    def rest(self, out: dict[str, Any], extra: Extra, at: str) -> None:
        """What was said beyond the form: given back to its own dialect, else carried if it is a mark for the cache, else named."""
        if self.own:
            put(out, extra)
            return
        out.update({name: extra[name] for name in CARRIED & extra.keys() if extra[name] is not None})
        lose(self.losses, at, extra, CARRIED)
