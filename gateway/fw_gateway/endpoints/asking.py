"""What each protocol's request must have, and what of it decisions look at: a row a protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fw_gateway.endpoints.request import want
from fw_gateway.errors import BadRequest
from fw_gateway.providers.protocols import CHAT, COMPLETIONS, COUNT, EMBEDDINGS, MESSAGES, OPAQUE, RESPONSES, protocols
from fw_gateway.values import Asked, Operation

Fields = Mapping[str, Any]
_Rule = tuple[tuple[type, ...], str]
_WHOLE, _TRUTH, _OBJECT = ((int,), "a whole number"), ((bool,), "true or false"), ((dict,), "an object")
_BLOCKS = ((str, list), "a text or a list of text blocks")
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


def _rules(**own: _Rule) -> Mapping[str, _Rule]:
    decimals = dict.fromkeys(
        ("temperature", "top_p", "frequency_penalty", "presence_penalty"), ((int, float), "a number")
    )
    return {"stream": _TRUTH, "tools": ((list,), "a list"), **decimals, **own}


_CHAT: Final = _rules(
    stream_options=_OBJECT, response_format=_OBJECT, max_tokens=_WHOLE, max_completion_tokens=_WHOLE, n=_WHOLE
)
_MESSAGES: Final = _rules(max_tokens=_WHOLE, system=_BLOCKS, thinking=_OBJECT, top_k=_WHOLE)
_RESPONSES: Final = _rules(
    instructions=((str,), "a text"), text=_OBJECT, reasoning=_OBJECT, background=_TRUTH, max_output_tokens=_WHOLE
)
_COMPLETIONS: Final = _rules(stream_options=_OBJECT, max_tokens=_WHOLE, n=_WHOLE)


def _members(fields: Fields, rules: Mapping[str, _Rule]) -> None:
    """Those that are there: a request has fewer members than its protocol has rules."""
    for name, value in fields.items():
        rule = rules.get(name)
        if rule is not None and type(value) not in rule[0]:
            want(fields, name, *rule)
    if "tools" in fields:
        _objects(fields["tools"], "tools", "type")


def _chat(fields: Fields) -> None:
    _messages(fields)
    _members(fields, _CHAT)


def _anthropic(fields: Fields) -> None:
    _messages(fields)
    want(fields, "max_tokens", int, "a whole number", needed=True)
    _members(fields, _MESSAGES)


def _count(fields: Fields) -> None:
    _messages(fields)
    want(fields, "system", *_BLOCKS)
    _objects(want(fields, "tools", list, "a list"), "tools", "name")


def _responses(fields: Fields) -> None:
    found = want(fields, "input", (str, list), "a text or a list of items", needed=True)
    if isinstance(found, list):
        _objects(found, "input", "type")
    _members(fields, _RESPONSES)


def _completions(fields: Fields) -> None:
    _members(fields, _COMPLETIONS)


def _anything(fields: Fields) -> None:
    want(fields, "stream", bool, "true or false")


def _embeddings(fields: Fields) -> None:
    want(fields, "input", (str, list), "a text or a list", needed=True)


_NONE: Final = frozenset[str]()


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
    if form := fields.get("response_format"):
        found |= _formats(form.get("type"))
    if _has(fields["messages"], "image_url"):
        found.add("vision")
    return frozenset(found) if found else _NONE


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
