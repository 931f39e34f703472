"""What the upstream says: sixty words, with usage; as a neutral value that every protocol can spell."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

WORDS = tuple(f"word{number:02d}" for number in range(60))
TEXT = " ".join(WORDS)
CREATED = 1_790_000_000
USAGE_UNSET: dict[str, Any] = {"unset": True}


def spaced(words: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Tokens whose concatenation is the words with spaces between."""
    return tuple(word if not index else " " + word for index, word in enumerate(words))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool call as it should arrive."""

    id: str
    name: str
    arguments: str
    """JSON text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `usage` is a complete object of the OpenAI chat shape, or whatever a hostile mode puts there."""

    model: str
    tokens: tuple[str, ...] = field(default_factory=lambda: spaced(WORDS))
    finish: str | None = "stop"
    prompt_tokens: int = 12
    usage: Any = None
    """None: what was really counted; `USAGE_UNSET`: none at all; else that."""
    choices: int = 1
    tools: tuple[Tool, ...] = ()
    reasoning: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    logprobs: bool = False
    role: str = "first"
    """`first`, `late` (with the first content) or `none`."""
    id: str = "fx-answer-1"

    @property
    def text(self) -> str:
        """All of its visible text."""
        return "".join(self.tokens)

    def counted(self, completion: int | None = None) -> Any:
        """The usage object; `completion`: tokens sent so far."""
        if self.usage is USAGE_UNSET:
            return None
        if self.usage is not None and completion is None:
            return self.usage
        size = len(self.tokens) + len(self.reasoning) + len(self.refusal)
        out = (size * self.choices) if completion is None else completion
        found: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": out,
            "total_tokens": self.prompt_tokens + out,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
        if self.reasoning:
            found["completion_tokens_details"] = {"reasoning_tokens": len(self.reasoning)}
        return found

    def with_(self, **changes: Any) -> "Answer":
        """A copy with changes."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event before it is bytes."""

    kind: str
    """`start`, `content`, `finish`, `usage`, `done`, `ping`, `error` or `other`."""
    data: Any
    """A JSON value, or a text that goes out as it is."""
    name: str = ""
    usage: Any = None
    """The usage within it, for the ground truth."""

    def with_data(self, data: Any, **changes: Any) -> "Event":
        """A copy with other data."""
        return replace(self, data=data, **changes)


Transform = Callable[[list[Event]], list[Event]]
