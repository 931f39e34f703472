"""Whatever else an upstream serves, in and out: bytes, of which only the model's name and the usage are looked at. Pure."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from fw_gateway.providers.splice import with_model
from fw_gateway.providers.sse import frame
from fw_gateway.providers.watching import Answer, Watcher, in_shape, number, text
from fw_gateway.values import Usage

_FORM_MODEL = re.compile(
    rb'(content-disposition:[^\r\n]*\bname="model"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)([^\r\n]*)(?=\r\n--)', re.IGNORECASE
)
"""The part of a form that names the model."""


def form_model(body: bytes) -> str:
    """The model that a form (multipart/form-data) names; empty: none."""
    found = _FORM_MODEL.search(body)
    return found[2].decode("utf-8", "replace") if found else ""


def rewrite(body: bytes, fields: Mapping[str, Any], *, model: str, usage: bool) -> bytes:
    """The request for another `model`, be it JSON or a form."""
    if fields["model"] == model:
        return body
    if body.startswith(b"--"):
        return _FORM_MODEL.sub(lambda found: found[1] + model.encode(), body, count=1)
    return with_model(body, model)


def _usage(found: Any) -> Usage | None:
    """Usage under either of its names."""
    if not isinstance(found, Mapping):
        return None
    given = number(found, "prompt_tokens"), number(found, "input_tokens"), number(found, "total_tokens")
    incoming = next((count for count in given if count is not None), None)
    outgoing = number(found, "completion_tokens")
    return Usage(incoming, number(found, "output_tokens") if outgoing is None else outgoing)


def read_answer(body: bytes) -> Answer:
    """Whatever came is the answer; where it is JSON, its usage is read."""
    try:
        found = orjson.loads(body) if body[:1] == b"{" else None
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        return Answer()
    return Answer(text(found.get("id")), text(found.get("model")), _usage(found.get("usage")))


class OpaqueWatcher(Watcher):
    """Watches a stream of events that nobody here understands: it is whole when its connection ends as it should."""

    __slots__ = ()

    MARKED: ClassVar[bool] = False
    INTEREST = (
        re.compile(rb'"usage"(?!\s*:\s*null)'),
        re.compile(rb'"error"(?!\s*:\s*null)'),
        b"[DONE]",
        b"event: error",
    )

    def __init__(self, *, hide_usage: bool = False, choices: int = 1) -> None:
        """Nothing is hidden."""
        super().__init__()

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An event with the error."""
        return frame({"error": error})

    def _told(self, raw: bytes, name: str, data: str) -> bool:
        if data.strip() == "[DONE]":
            self.terminator, self._ended, self.started = raw, True, True
            return False
        self.chunks += 1
        self.started = True
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            return True
        if isinstance(found, dict):
            if name == "error" or found.get("error"):
                self.error = in_shape(found.get("error") or found)
                return False
            self.usage = _usage(found.get("usage")) or self.usage
        return True
