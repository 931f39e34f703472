"""OpenAI Responses in and out: requests spliced, answers read, streams watched, as bytes. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from fw_gateway.providers.splice import with_member, with_model
from fw_gateway.providers.sse import frame
from fw_gateway.providers.watching import Answer, Watcher, in_shape, loaded, number, text
from fw_gateway.values import Usage

_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_MESSAGE: Final = frozenset({"message", "reasoning"})
"""Items that are no content before something is in them; a call of a function is."""


def rewrite(body: bytes, fields: Mapping[str, Any], *, model: str, usage: bool) -> bytes:
    """The request for another `model`; a stream reports its usage unasked."""
    return body if fields["model"] == model else with_model(body, model)


def with_effort(body: bytes, effort: str) -> bytes:
    """The request with a reasoning effort, which it has not yet."""
    return with_member(body, "reasoning", {"effort": effort})


def usage_of(found: Any) -> Usage | None:
    """Usage as it was reported."""
    if not isinstance(found, dict):
        return None
    return Usage(
        input_tokens=number(found, "input_tokens"),
        output_tokens=number(found, "output_tokens"),
        cached_tokens=number(found.get("input_tokens_details"), "cached_tokens"),
        cache_write_tokens=number(found.get("input_tokens_details"), "cache_write_tokens"),
        reasoning_tokens=number(found.get("output_tokens_details"), "reasoning_tokens"),
    )


def _reason(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Why it is over, in its own words: its status, or what kept it incomplete."""
    why = found.get("incomplete_details")
    reason = text(why.get("reason")) if isinstance(why, dict) else ""
    return tuple(filter(None, (reason or text(found.get("status")),)))


def read_answer(body: bytes) -> Answer:
    """A whole response, read for the record and checked for being one."""
    found = loaded(body)
    if isinstance(found, str):
        return Answer(problem=found)
    if not isinstance(found.get("output"), list):
        return Answer(problem="the upstream's answer has no output")
    if found.get("status") == "failed":
        return Answer(problem="the upstream's response failed")
    return Answer(text(found.get("id")), text(found.get("model")), usage_of(found.get("usage")), _reason(found))


class ResponsesWatcher(Watcher):
    """Watches a stream of response events."""

    __slots__ = ("_number", "_reasons", "_response")

    INTEREST = (
        b'"response.created"', b'"response.in_progress"', b'"response.completed"', b'"response.incomplete"',
        b'"response.failed"', b'"error"', b"event: error",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool = False, choices: int = 1) -> None:
        """There is one answer, and its usage is part of it."""
        super().__init__()
        self._reasons: tuple[str, ...] = ()
        self._response: Mapping[str, Any] = {}
        self._number = 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """How it ended."""
        return self._reasons

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """`response.failed`: the response as it began, failed."""
        shape = {"code": text(error.get("code")) or "server_error", "message": error["message"]}
        response = {"object": "response", "output": [], **self._response, "status": "failed", "error": shape}
        name = "response.failed"
        return frame({"type": name, "sequence_number": self._number + self.chunks, "response": response}, name)

    def _told(self, raw: bytes, name: str, data: str) -> bool:
        if self._ended:
            return False
        self.chunks += 1
        if self._dull_event(raw):
            return True
        found = self._parsed(data)
        return found is not None and self._learn(text(found.get("type")) or name, found, raw)

    def _learn(self, kind: str, found: dict[str, Any], raw: bytes) -> bool:
        response = found.get("response")
        if isinstance(response, dict):
            self._response = response
            self.id, self.model = text(response.get("id")) or self.id, text(response.get("model")) or self.model
            self.usage = usage_of(response.get("usage")) or self.usage
        if kind in {"error", "response.failed"}:
            inner = response.get("error") if isinstance(response, dict) else found.get("error")
            self.error = in_shape(inner or found)
            return False
        if kind in _ENDS:
            self.terminator, self._ended, self.started = raw, True, True
            self._reasons = _reason(response) if isinstance(response, dict) else ()
            return False
        item = found.get("item")
        called = isinstance(item, dict) and text(item.get("type")) not in _MESSAGE
        if called or (kind.endswith(".delta") and found.get("delta")):
            self.started = True
        return True
