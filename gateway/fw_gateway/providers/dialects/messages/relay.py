"""Anthropic Messages in and out: requests spliced, answers read, streams watched, as bytes. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fw_gateway.providers.dialects.messages.errors import error_body, status_of
from fw_gateway.providers.splice import with_member, with_model
from fw_gateway.providers.sse import frame
from fw_gateway.providers.watching import Answer, Watcher, in_shape, loaded, number, text
from fw_gateway.values import Usage


def rewrite(body: bytes, fields: Mapping[str, Any], *, model: str, usage: bool) -> bytes:
    """The request for another `model`; a stream reports its usage unasked."""
    return body if fields["model"] == model else with_model(body, model)


def with_effort(body: bytes, effort: str) -> bytes:
    """The request with a reasoning effort, which it has not yet."""
    return with_member(body, "output_config", {"effort": effort})


def usage_of(found: Any, before: Usage | None = None) -> Usage | None:
    """Usage as it was reported, on top of what was reported `before`. Input counts what was read from and written to the cache."""
    if not isinstance(found, dict):
        return before
    usage = before or Usage()
    cached, written = number(found, "cache_read_input_tokens"), number(found, "cache_creation_input_tokens")
    fresh = number(found, "input_tokens")
    if fresh is not None:
        usage = replace(
            usage, input_tokens=fresh + (cached or 0) + (written or 0), cached_tokens=cached, cache_write_tokens=written
        )
    outgoing = number(found, "output_tokens")
    return usage if outgoing is None else replace(usage, output_tokens=outgoing)


def read_answer(body: bytes) -> Answer:
    """A whole message, read for the record and checked for being one."""
    found = loaded(body)
    if isinstance(found, str):
        return Answer(problem=found)
    if found.get("type") != "message" or not isinstance(found.get("content"), list):
        return Answer(problem="the upstream's answer is no message")
    reason = text(found.get("stop_reason"))
    reasons = (reason,) if reason else ()
    return Answer(text(found.get("id")), text(found.get("model")), usage_of(found.get("usage")), reasons)


def read_count(body: bytes) -> Answer:
    """The answer of `count_tokens`, checked for being one."""
    found = loaded(body)
    if isinstance(found, str):
        return Answer(problem=found)
    return Answer() if number(found, "input_tokens") is not None else Answer(problem="the upstream counted nothing")


def error(found: Mapping[str, Any], status: int) -> dict[str, Any]:
    """An error in Anthropic's shape, from one in OpenAI's."""
    return error_body(status, found["message"])


class MessagesWatcher(Watcher):
    """Watches a stream of message events."""

    __slots__ = ("_begun", "_reason")

    INTEREST = (b'"message_', b'"error"', b'"ping"', b"event: error", b"event: message_", b"event:message_")

    def __init__(self, *, hide_usage: bool = False, choices: int = 1) -> None:
        """There is one answer, and its usage is part of it."""
        super().__init__()
        self._reason = ""
        self._begun = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it stopped."""
        return (self._reason,) if self._reason else ()

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An `error` event."""
        kind = text(error.get("type"))
        return frame(error_body(status_of(kind), error["message"], kind), "error")

    def _told(self, raw: bytes, name: str, data: str) -> bool:
        if self._ended:
            return False
        if self._dull_event(raw):
            self.chunks += 1
            return True
        found = self._parsed(data)
        if found is None:
            return False
        kind = text(found.get("type")) or name
        if kind == "ping":
            return True
        self.chunks += 1
        return self._learn(kind, found, raw)

    def _learn(self, kind: str, found: dict[str, Any], raw: bytes) -> bool:
        match kind:
            case "error":
                self.error = in_shape(found.get("error") or found)
                return False
            case "message_start" if self._begun:
                return False  # a message begins once
            case "message_start":
                self._begun = True
                message = found.get("message")
                if isinstance(message, dict):
                    self.id = self.id or text(message.get("id"))
                    self.model = self.model or text(message.get("model"))
                    self.usage = usage_of(message.get("usage"), self.usage)
            case "message_delta":
                delta = found.get("delta")
                self._reason = text(delta.get("stop_reason")) if isinstance(delta, dict) else self._reason
                self.usage = usage_of(found.get("usage"), self.usage)
                self.started = True
            case "message_stop":
                self.terminator, self._ended, self.started = raw, True, True
                return False
            case "content_block_start":
                block = found.get("content_block")
                self.started |= isinstance(block, dict) and text(block.get("type")) not in {"text", "thinking"}
            case "content_block_delta":
                delta = found.get("delta")
                self.started |= isinstance(delta, dict) and any(v for k, v in delta.items() if k != "type")
            case _:
                pass
        return True
