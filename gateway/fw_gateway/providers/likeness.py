"""Tokens of a stream look alike: the same text around another word each time. Once one such event was read, its like need no reading. Pure."""

import re
from typing import Final

TRIES: Final = 8
"""Shapes that are learnt of one stream; one that changes them more often is read event by event."""

_ESCAPE: Final = ord("\\")
_WORDS: Final = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|thinking|arguments|partial_json)": ?"[^"\\]*(?:\\.[^"\\]*)*"'
)
"""A member that brings some of an answer."""


class Likeness:
    """What the events of one stream have in common.

    Events are alike when they differ in the inside of one text alone. In JSON that ends at the first bare quotation mark: so each of them
    takes two comparisons, of what stands between two texts, and the search for one sign.
    """

    __slots__ = ("_after", "_before", "_between", "_lines", "_tries")

    def __init__(self) -> None:
        """Nothing is known."""
        self._before = self._after = self._between = b""
        self._lines = 0
        self._tries = TRIES

    @property
    def willing(self) -> bool:
        """It may be shown another event."""
        return self._tries > 0

    def learn(self, event: bytes) -> None:
        """Take a whole event as typical; its lines end in LF."""
        self._tries -= 1
        found = _WORDS.search(event)
        if found is not None:
            end = found.end() - 1
            start = event.index(b'"', event.index(b":", found.start())) + 1
            self._before, self._after = event[:start], event[end:]
            self._between = self._after + self._before
            self._lines = event.count(b"\n")

    def run(self, data: bytes, position: int) -> tuple[int, int]:
        """The end of the events from `position` on that are known to be alike, and how many they are; none: `position`, 0."""
        before, between, after = self._before, self._between, self._after
        begins, tail = data.startswith, len(after)
        if not before or not begins(before, position):
            return position, 0
        find, step, count, end = data.find, len(between), 0, position
        at = find(b'"', position + len(before))
        while at > 0:
            if begins(between, at):
                count += 1
                end = at + tail
                at = find(b'"', at + step)
            elif begins(after, at):
                count += 1
                end = at + tail
                break
            elif data[at - 1] == _ESCAPE:
                at = find(b'"', at + 1)
            else:
                break
        if data.count(b"\n", position, end) != count * self._lines:
            return position, 0
        return end, count
