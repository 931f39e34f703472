"""What each protocol's request must have, and what of it decisions look at: a row a protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fw_gateway.endpoints.request import want
from fw_gateway.errors import BadRequest
from fw_gateway.providers.protocols import CHAT, COMPLETIONS, COUNT, EMBEDDINGS, MESSAGES, OPAQUE, RESPONSES, protocols
from fw_gateway.values import Asked, Operation

Fields = Mapping[str, Any]
_DECIMALS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
MAX_MESSAGES = 10_000


@dataclass(frozen=True, slots=True)
class Kind:
    """How one protocol's requests are read."""

    protocol: str
    operation: Operation
    check: Callable[[Fields], None]
    """Raises BadRequest on what cannot be read, with the member's name."""
    needs: Callable[[Fields], frozenset[str]]
    """Capabilities that a request uses."""
    limits: tuple[str, ...] = ()
    """Members that limit the output, the newest name first."""
    streams: bool = True
    turns: str = ""
    """The member that lists the turns of the conversation; empty: none does."""

    def count(self, fields: Fields) -> None:
        """Refuse a conversation that is too long, at the price of a look at its length.

        Raises:
            BadRequest: it has more than MAX_MESSAGES turns.
        """
        found = fields.get(self.turns) if self.turns else None
        if isinstance(found, list) and len(found) > MAX_MESSAGES:
            raise BadRequest(f"`{self.turns}` has more than {MAX_MESSAGES:,} entries.", param=self.turns)


def asked(kind: Kind, fields: Fields) -> Asked:
    """What decisions look at."""
    limit = None
    for name in kind.limits:
        if isinstance(value := fields.get(name), int):
            limit = value
            break
    count = fields.get("n")
    choices = count if kind.protocol in {CHAT, COMPLETIONS} and isinstance(count, int) and count > 1 else 1
    said = protocols[kind.protocol].effort
    return Asked(limit, choices, not said.isdisjoint(fields) if said else True)


def _objects(found: Any, name: str, what: str) -> None:
    for number, item in enumerate(found or ()):
        if not isinstance(item, dict):
            raise BadRequest(f"{name}[{number}] must be an object with a {what}.", param=f"{name}[{number}]")


def _messages(fields: Fields, name: str = "messages") -> None:
    found = want(fields, name, list, "a list of messages", needed=True)
    if not found:
        raise BadRequest(f"`{name}` is empty.", hint="Send at least one message.", param=name)
    _objects(found, name, "role")


def _common(fields: Fields, *whole: str) -> None:
    want(fields, "stream", bool, "true or false")
    _objects(want(fields, "tools", list, "a list"), "tools", "type")
    for name in whole:
        want(fields, name, int, "a whole number")
    for name in _DECIMALS:
        want(fields, name, (int, float), "a number")


def _chat(fields: Fields) -> None:
    _messages(fields)
    want(fields, "stream_options", dict, "an object")
    want(fields, "response_format", dict, "an object")
    _common(fields, "max_tokens", "max_completion_tokens", "n")


def _anthropic(fields: Fields) -> None:
    _messages(fields)
    want(fields, "max_tokens", int, "a whole number", needed=True)
    want(fields, "system", (str, list), "a text or a list of text blocks")
    want(fields, "thinking", dict, "an object")
    _common(fields, "top_k")


def _count(fields: Fields) -> None:
    _messages(fields)
    want(fields, "system", (str, list), "a text or a list of text blocks")
    _objects(want(fields, "tools", list, "a list"), "tools", "name")


def _responses(fields: Fields) -> None:
    found = want(fields, "input", (str, list), "a text or a list of items", needed=True)
    if isinstance(found, list):
        _objects(found, "input", "type")
    want(fields, "instructions", str, "a text")
    want(fields, "text", dict, "an object")
    want(fields, "reasoning", dict, "an object")
    want(fields, "background", bool, "true or false")
    _common(fields, "max_output_tokens")


def _completions(fields: Fields) -> None:
    want(fields, "stream_options", dict, "an object")
    _common(fields, "max_tokens", "n")


def _anything(fields: Fields) -> None:
    want(fields, "stream", bool, "true or false")


def _embeddings(fields: Fields) -> None:
    want(fields, "input", (str, list), "a text or a list", needed=True)


def _has(messages: Any, kind: str) -> bool:
    """Whether any part of any message is of a kind."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content")
        if isinstance(content, list) and any(part.get("type") == kind for part in content if isinstance(part, dict)):
            return True
    return False


def _formats(kind: Any) -> set[str]:
    return {"json_schema"} if kind == "json_schema" else {"json_mode"} if kind == "json_object" else set()


def _chat_needs(fields: Fields) -> frozenset[str]:
    found = {"tools"} if fields.get("tools") else set[str]()
    found |= _formats((fields.get("response_format") or {}).get("type"))
    if _has(fields["messages"], "image_url"):
        found.add("vision")
    return frozenset(found)


def _anthropic_needs(fields: Fields) -> frozenset[str]:
    found = {"tools"} if fields.get("tools") else set[str]()
    config = fields.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    found |= _formats(form.get("type") if isinstance(form, dict) else None)
    if _has(fields["messages"], "image"):
        found.add("vision")
    return frozenset(found)


def _responses_needs(fields: Fields) -> frozenset[str]:
    found = {"tools"} if fields.get("tools") else set[str]()
    form = (fields.get("text") or {}).get("format")
    found |= _formats(form.get("type") if isinstance(form, dict) else None)
    if _has(fields["input"], "input_image"):
        found.add("vision")
    return frozenset(found)


KINDS: Final[Mapping[str, Kind]] = {
    kind.protocol: kind
    for kind in (
        Kind(CHAT, "chat", _chat, _chat_needs, ("max_completion_tokens", "max_tokens"), turns="messages"),
        Kind(RESPONSES, "chat", _responses, _responses_needs, ("max_output_tokens",), turns="input"),
        Kind(MESSAGES, "chat", _anthropic, _anthropic_needs, ("max_tokens",), turns="messages"),
        Kind(COUNT, "fw.count_tokens", _count, _anthropic_needs, streams=False, turns="messages"),
        Kind(COMPLETIONS, "text_completion", _completions, lambda fields: frozenset(), ("max_tokens",)),
        Kind(OPAQUE, "fw.relay", _anything, lambda fields: frozenset()),
        Kind(EMBEDDINGS, "embeddings", _embeddings, lambda fields: frozenset({"embeddings"}), streams=False),
    )
}
