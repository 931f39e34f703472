"""The protocols that calls come in and go out by, as a table: what differs in kind is a function of its dialect, the rest is data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fw_gateway.providers.dialects.chat import relay as chat
from fw_gateway.providers.dialects.embeddings import relay as embeddings
from fw_gateway.providers.dialects.messages import relay as messages
from fw_gateway.providers.dialects.opaque import relay as opaque
from fw_gateway.providers.dialects.responses import relay as responses
from fw_gateway.providers.watching import Answer, Watcher

CHAT, RESPONSES, MESSAGES = "openai_chat", "openai_responses", "anthropic_messages"
EMBEDDINGS, COUNT = "openai_embeddings", "anthropic_count_tokens"
COMPLETIONS, OPAQUE = "openai_completions", "opaque"


def _openai(found: Mapping[str, Any], status: int) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": dict(found)}


RUNNING = frozenset({CHAT, COMPLETIONS})
"""Protocols whose streams may say with every event what has been used so far."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one kind of call travels."""

    name: str
    path: str
    """Below an endpoint's base url."""
    rewrite: Callable[..., bytes]
    """(body, fields, *, model, usage): the request as it goes upstream."""
    read: Callable[[bytes], Answer]
    """A whole answer, read for the record."""
    watch: Callable[..., Watcher] | None = None
    """(*, hide_usage, choices): watches a stream; None: this never streams."""
    with_effort: Callable[[bytes, str], bytes] | None = None
    effort: frozenset[str] = frozenset()
    """Members by which a caller itself says how hard the model should think."""
    error: Callable[[Mapping[str, Any], int], dict[str, Any]] = _openai
    """(error in OpenAI's shape, status): the body of a refusal."""
    family: str = "openai"
    """Whose errors it shares."""
    passed: tuple[str, ...] = ()
    """Headers of the caller that go upstream with it, in lower case."""


_ANTHROPIC = ("anthropic-version", "anthropic-beta")

protocols: Final[Mapping[str, Protocol]] = MappingProxyType({
    row.name: row
    for row in (
        Protocol(
            CHAT, "/chat/completions", chat.rewrite, chat.read_answer, chat.ChatWatcher, chat.with_effort,
            frozenset({"reasoning_effort", "reasoning"}),
        ),
        Protocol(
            RESPONSES, "/responses", responses.rewrite, responses.read_answer, responses.ResponsesWatcher,
            responses.with_effort, frozenset({"reasoning"}),
        ),
        Protocol(
            MESSAGES, "/messages", messages.rewrite, messages.read_answer, messages.MessagesWatcher, messages.with_effort,
            frozenset({"thinking", "output_config"}), messages.error, "anthropic", _ANTHROPIC,
        ),
        Protocol(
            COUNT, "/messages/count_tokens", messages.rewrite, messages.read_count, error=messages.error,
            family="anthropic", passed=_ANTHROPIC,
        ),
        Protocol(COMPLETIONS, "/completions", chat.rewrite, chat.read_answer, chat.ChatWatcher),
        Protocol(OPAQUE, "", opaque.rewrite, opaque.read_answer, opaque.OpaqueWatcher, passed=("content-type", "accept")),
        Protocol(EMBEDDINGS, "/embeddings", embeddings.rewrite, embeddings.read_answer),
    )
})  # fmt: skip
ROUTES: Final[Mapping[str, str]] = MappingProxyType(
    {f"/v1{row.path}": row.name for row in protocols.values() if row.path}
)
"""Route -> protocol, for those that answer in a shape of their own."""


def refused(route: str, body: Mapping[str, Any], status: int) -> dict[str, Any]:
    """An error of ours (in OpenAI's shape) as clients of this route understand it."""
    return protocols[ROUTES.get(route, CHAT)].error(body["error"], status)
