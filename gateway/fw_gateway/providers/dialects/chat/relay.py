"""OpenAI chat (and its elder, completions) in and out: requests spliced, answers read, streams watched, as bytes. Pure.

Same dialect in and out is relayed, not re-encoded. What must change in a request is cut out and replaced where it stands; what
must be known of an answer is read from the few events that carry it.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from fw_gateway.providers.splice import replaced, with_member, with_model
from fw_gateway.providers.sse import frame
from fw_gateway.providers.watching import Answer, Watcher, in_shape, loaded, text
from fw_gateway.values import Usage

DONE = b"data: [DONE]\n\n"
_RUNNING = re.compile(rb'(?<!"choices":\[\]),"usage":(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})(?=[,}])')
"""What has been used so far, beside a choice; in a text its quotation marks would be escaped."""
_UNSAID: dict[str, Any] = {}
_CONTENT = ("content", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning", "audio")


def rewrite(body: bytes, fields: Mapping[str, Any], *, model: str, usage: bool, running: bool = False) -> bytes:
    """The request as it goes upstream: another `model`, and `stream_options.include_usage` when `usage`; all else byte for byte.

    `fields` is `body`, parsed: an object with a textual `model`. `running`: usage is asked for with every event too.
    """
    if fields["model"] != model:
        body = with_model(body, model)
    if not usage:
        return body
    wanted = {"include_usage": True, "continuous_usage_stats": True} if running else {"include_usage": True}
    if "stream_options" not in fields:
        return with_member(body, "stream_options", wanted)
    return replaced(body, "stream_options", orjson.dumps({**(fields.get("stream_options") or {}), **wanted}))


def with_effort(body: bytes, effort: str) -> bytes:
    """The request with a reasoning effort, which it has not yet."""
    return with_member(body, "reasoning_effort", effort)


def usage_of(found: Any) -> Usage | None:
    """Usage as it was reported; what is no whole number was not reported."""
    if not isinstance(found, dict):
        return None
    incoming, outgoing = found.get("prompt_tokens_details"), found.get("completion_tokens_details")
    incoming = incoming if isinstance(incoming, dict) else _UNSAID
    said = (
        found.get("prompt_tokens"),
        found.get("completion_tokens"),
        incoming.get("cached_tokens"),
        incoming.get("cache_write_tokens"),
        outgoing.get("reasoning_tokens") if isinstance(outgoing, dict) else None,
    )
    return Usage(*[count if type(count) is int and count >= 0 else None for count in said])


def read_answer(body: bytes) -> Answer:
    """A non-streaming chat answer, read for the record and checked for being one."""
    found = loaded(body)
    if isinstance(found, str):
        return Answer(problem=found)
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices:
        return Answer(problem="the upstream's answer has no choices")
    reasons = tuple(str(c["finish_reason"]) for c in choices if isinstance(c, dict) and c.get("finish_reason"))
    return Answer(text(found.get("id")), text(found.get("model")), usage_of(found.get("usage")), reasons)


class ChatWatcher(Watcher):
    """Watches a stream of chat chunks. Usage that the client did not ask for never comes out of `feed`."""

    __slots__ = ("_choices", "_finished", "_hide", "_running")

    INTEREST = (
        re.compile(rb'"finish_reason"(?!\s*:\s*null)'),
        re.compile(rb'"usage"(?!\s*:\s*null)'),
        re.compile(rb'"error"(?!\s*:\s*null)'),
        b"[DONE]",
        b"event:",
    )

    def __init__(self, *, hide_usage: bool, choices: int = 1, running: bool = False) -> None:
        """`choices`: how many answers were asked for (`n`); each must finish. `running`: each event says what has been used; that is cut out."""
        super().__init__()
        self._running = running
        self._hide = hide_usage
        self._choices = choices
        self._finished: dict[int, str] = {}

    @property
    def complete(self) -> bool:
        """Every choice has said why it finished: the answer is whole."""
        return len(self._finished) >= self._choices

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each choice finished."""
        return tuple(self._finished[index] for index in sorted(self._finished))

    def _each(self, ready: bytes) -> list[bytes]:
        if self._running and (found := _RUNNING.findall(ready)):
            self.usage = usage_of(orjson.loads(found[-1]))
            ready = _RUNNING.sub(b"", ready)
        return super()._each(ready)

    def ending(self) -> bytes:
        """The upstream's own `[DONE]`, or one like it."""
        return self.terminator or DONE

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An event with the error, and no `[DONE]`."""
        return frame({"error": error})

    def _told(self, raw: bytes, name: str, data: str) -> bool:
        if data.strip() == "[DONE]":
            self.terminator = self.terminator or raw
            self._ended = True
            return False
        self.chunks += 1
        return self._read(raw, data, error=name == "error") and not self._ended

    def _read(self, raw: bytes, data: str, *, error: bool) -> bool:
        """Read the payload of an event, if it may matter."""
        if self._dull_event(raw):
            return True
        found = self._parsed(data)
        if found is None:
            return False
        if error or found.get("error"):
            self.error = in_shape(found.get("error") or found)
            return False
        return self._learn(found)

    def _learn(self, found: dict[str, Any]) -> bool:
        self.id = self.id or text(found.get("id"))
        self.model = self.model or text(found.get("model"))
        choices = found.get("choices")
        choices = choices if isinstance(choices, list) else []
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            if choice.get("finish_reason"):
                index = choice.get("index")
                self._finished[index if isinstance(index, int) else 0] = str(choice["finish_reason"])
                self.started = True
            if not self.started:
                delta = choice.get("delta")
                self.started = bool(choice.get("text")) or (isinstance(delta, dict) and any(map(delta.get, _CONTENT)))
        if found.get("usage"):
            self.usage = usage_of(found["usage"]) or self.usage
            return not (self._hide and not choices)
        return True
