"""The grammar of a stream of the Responses API as an automaton, and what its events come to."""

from copy import deepcopy
from typing import Any

import orjson

from fw_gateway.providers.sse import Frames

Event = dict[str, Any]

PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
WORDS = {
    "response.output_text": ("content_index", "output_text", "text"),
    "response.refusal": ("content_index", "refusal", "refusal"),
    "response.reasoning_text": ("content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text": ("summary_index", "summary_text", "text"),
}
ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


def events_of(raw: bytes) -> list[Event]:
    """The events of a stream; each is named twice, in the same way."""
    frames, out = Frames(), list[Event]()
    for name, data in [*frames.feed(raw), *frames.end()]:
        event = orjson.loads(data)
        assert event["type"] == name
        out.append(event)
    return out


class Automaton:
    """Takes a stream event by event and fails where it breaks the grammar; `output` is what it told."""

    def __init__(self) -> None:
        self.state = "before"
        self.output: list[dict[str, Any]] = []
        self.open: set[int] = set()
        self.parts: dict[tuple[int, str, int], str] = {}
        """Words of each part that is open."""
        self.arguments: dict[int, str] = {}
        """Arguments of each call that is open."""
        self.said: set[int] = set()
        """Calls whose arguments are all told."""

    def run(self, events: list[Event]) -> None:
        """All of a stream, which must be over then."""
        for number, event in enumerate(events):
            assert event["sequence_number"] == number
            self.take(deepcopy(event))
        assert self.state in ENDS.values()

    def take(self, event: Event) -> None:
        kind = event["type"]
        if kind in {"response.created", "response.in_progress"}:
            assert self.state == {"response.created": "before", "response.in_progress": "created"}[kind]
            self.state = {"before": "created", "created": "going"}[self.state]
            assert event["response"]["status"] == "in_progress"
            assert event["response"]["output"] == []
            return
        assert self.state == "going"
        if kind in ENDS:
            self._end(event)
        elif kind == "response.output_item.added":
            assert event["output_index"] == len(self.output)
            self.open.add(len(self.output))
            self.output.append(event["item"])
            if event["item"]["type"] == "function_call":
                assert event["item"]["arguments"] == ""
                self.arguments[event["output_index"]] = ""
        elif kind == "response.output_item.done":
            self._item_done(event)
        else:
            self._inside(event)

    def _end(self, event: Event) -> None:
        self.state = ENDS[event["type"]]
        response = event["response"]
        assert response["status"] == self.state
        if self.state == "failed":
            assert response["error"]["message"] is not None
            assert response["error"]["code"]
            assert response["output"] == [item for index, item in enumerate(self.output) if index not in self.open]
        else:
            assert not self.open
            assert response["error"] is None
            assert response["output"] == self.output

    def _item_done(self, event: Event) -> None:
        index, item = event["output_index"], event["item"]
        self.open.remove(index)
        begun = self.output[index]
        assert item["type"] == begun["type"]
        assert item.get("id") == begun.get("id")
        assert not [key for key in self.parts if key[0] == index]
        assert index not in self.arguments
        assert item.get("status") != "in_progress"
        for name in ("content", "summary"):
            if item["type"] in {"message", "reasoning"} and name in item and index in self.said:
                assert item[name] == begun[name]
        self.output[index] = item

    def _inside(self, event: Event) -> None:
        index, (name, _, what) = event["output_index"], event["type"].rpartition(".")
        assert index in self.open
        item = self.output[index]
        assert event["item_id"] == item["id"]
        self.said.add(index)
        if name == "response.function_call_arguments":
            assert item["type"] == "function_call"
            if what == "delta":
                self.arguments[index] += event["delta"]
            else:
                assert self.arguments.pop(index) == event["arguments"]
                item["arguments"] = event["arguments"]
        elif name in PARTS:
            self._part(event, item, name, what)
        else:
            place, kind, member = WORDS[name]
            key = (index, place, event[place])
            assert item["content" if place == "content_index" else "summary"][event[place]]["type"] == kind
            if what == "delta":
                assert event["delta"]
                self.parts[key] += event["delta"]
            else:
                assert self.parts[key] == event[member]

    def _part(self, event: Event, item: dict[str, Any], name: str, what: str) -> None:
        holder, place = PARTS[name]
        assert item["type"] == "message" or (item["type"] == "reasoning" and "refusal" not in event["part"])
        listed = item.setdefault(holder, [])
        key = (event["output_index"], place, event[place])
        member = "refusal" if event["part"]["type"] == "refusal" else "text"
        if what == "added":
            assert event[place] == len(listed)
            assert event["part"][member] == ""
            listed.append(event["part"])
            self.parts[key] = ""
        else:
            assert event["part"]["type"] == listed[event[place]]["type"]
            assert self.parts.pop(key) == event["part"][member]
            listed[event[place]] = event["part"]
