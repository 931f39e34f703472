"""The protocols that the upstream speaks, each as two functions: an answer as a whole body, an answer as events."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.upstream.answers import Answer, Event
from tests.faults.upstream.protocols import chat, completions, messages, responses


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one API spells answers and errors."""

    name: str
    whole: Callable[[Answer], dict[str, Any]]
    events: Callable[[Answer, bool], list[Event]]
    """The answer, and whether usage was asked for."""
    error: Callable[[str, str, str | None], dict[str, Any]]
    """Message, type, code: an error body."""
    error_event: Callable[[str, str, str | None], Event]
    """The same within a stream."""


CHAT = Protocol("chat", chat.whole, chat.events, chat.error, chat.error_event)
COMPLETIONS = Protocol("completions", completions.whole, completions.events, chat.error, chat.error_event)
RESPONSES = Protocol("responses", responses.whole, responses.events, chat.error, responses.error_event)
MESSAGES = Protocol("messages", messages.whole, messages.events, messages.error, messages.error_event)

BY_PATH = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
}
"""What streams. Embeddings, token counts and models are answered by `small`."""
