"""The words of OpenAI Chat Completions, and what they are called between dialects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fw_gateway.providers.form import Extra, Losses, Reason, Spelt
from fw_gateway.providers.wire import lose, put

NAME: Final = "openai_chat"

CACHE_CONTROL: Final = "cache_control"
REASONING_CONTENT: Final = "reasoning_content"
THINKING_BLOCKS: Final = "thinking_blocks"
TOOL_MEDIA: Final = "tool_media"
TOP_K: Final = "top_k"
BEYOND: Final = frozenset({CACHE_CONTROL, REASONING_CONTENT, THINKING_BLOCKS, TOOL_MEDIA, TOP_K})
"""What some servers of the protocol understand beyond it: marks of what to cache, thoughts of earlier turns as text or signed, pictures and
files in the result of a tool, `top_k`. OpenAI itself refuses a request that has them."""

REASONS: Final[Mapping[str, Reason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
WORDS: Final[Mapping[Reason, str]] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "context": "length",
    "pause": "stop",
    "": "stop",
}
VAGUE: Final = frozenset({"context", "pause", ""})
"""Reasons that the protocol has no word of its own for."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How one body is written."""

    own: bool
    """What is written was read from this dialect: everything goes back as it stood."""
    beyond: frozenset[str] = BEYOND
    losses: Losses = field(default_factory=Losses)
    placed: bool = False
    """What is written goes back to the place where it stood."""

    shared: frozenset[str] = frozenset()
    """Words that the other dialect has in the same sense."""

    def can(self, word: str) -> bool:
        """Whether a word beyond the protocol may be written."""
        return self.own or word in self.beyond

    def rest(self, out: dict[str, Any], extra: Extra, at: str) -> None:
        """What was said beyond the form: given back to its own dialect, else carried if both say it so, else named."""
        if self.own:
            put(out, extra)
            return
        kept = ({CACHE_CONTROL} & self.beyond) | self.shared
        said = {name: extra[name] for name in kept & extra.keys() if extra[name] is not None}
        out.update({name: value for name, value in said.items() if not isinstance(value, Spelt)})
        lose(self.losses, at, extra, kept)
