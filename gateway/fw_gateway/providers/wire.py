"""The bodies of protocols, member by member: read with the place of what is wrong, written with what the form has no word for. Pure."""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from fw_gateway.providers.form import Extra, Losses, Rest, Spelt, Unreadable

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL | re.ASCII)
_LARGE = re.compile(r"[0-9]{19}")
SMALLEST, LARGEST = -(2**63), 2**64 - 1
"""Whole numbers that our JSON can write."""


def under(at: str, name: str) -> str:
    """The place of a member of the object at `at`."""
    return f"{at}.{name}" if at else name


class Members:
    """The members of one object, taken one by one. A null says nothing: it is never taken, and stays with what is left."""

    __slots__ = ("_left", "at")

    def __init__(self, found: Any, at: str = "") -> None:
        """Raises Unreadable when `found`, which stood at `at`, is no object."""
        if not isinstance(found, Mapping):
            raise Unreadable(at, "must be an object")
        self._left: dict[str, Any] = dict(found)
        self.at = at

    def refuse(self, name: str, why: str) -> Unreadable:
        """What to raise for a member: "must be ..."."""
        return Unreadable(under(self.at, name), why)

    def look(self, name: str) -> Any:
        """A value that stays where it is."""
        return self._left.get(name)

    def take(self, name: str) -> Any:
        """Any value; None when it was not said."""
        return self._left.pop(name) if self._left.get(name) is not None else None

    def keep(self, name: str, value: Any) -> None:
        """Put something with what is left: a value back, a Spelt, a Rest."""
        self._left[name] = value

    def said(self, name: str) -> str | None:
        """A text; None when it was not said."""
        found = self.take(name)
        if found is not None and not isinstance(found, str):
            raise self.refuse(name, "must be a string")
        return found

    def text(self, name: str) -> str:
        """A text; empty when it was not said, which is remembered when it was said to be empty."""
        found = self.said(name)
        if found == "":
            self.keep(name, Spelt(""))
        return found or ""

    def need(self, name: str) -> str:
        """A text that must be there."""
        found = self.said(name)
        if found is None:
            raise self.refuse(name, "is missing")
        return found

    def flag(self, name: str) -> bool | None:
        """True or false."""
        found = self.take(name)
        if found is not None and not isinstance(found, bool):
            raise self.refuse(name, "must be true or false")
        return found

    def whole(self, name: str, least: int | None = None) -> int | None:
        """A whole number, of at least `least`."""
        found = self.take(name)
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool):
            raise self.refuse(name, "must be a whole number")
        if least is not None and found < least:
            raise self.refuse(name, f"must be at least {least}")
        return found

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number from `least` to `most`."""
        found = self.take(name)
        if found is None:
            return None
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise self.refuse(name, "must be a number")
        if not least <= found <= most:
            raise self.refuse(name, f"must be from {least:g} to {most:g}")
        return found

    def count(self, name: str) -> int | None:
        """A number of tokens as it was reported; what is no whole number was not reported, and stays."""
        found = self._left.get(name)
        if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
            return self.whole(name)
        return None

    def items(self, name: str) -> list[Any] | None:
        """A list."""
        found = self.take(name)
        if found is not None and not isinstance(found, list):
            raise self.refuse(name, "must be a list")
        return found

    def inner(self, name: str) -> "Members | None":
        """An object within."""
        found = self.take(name)
        return None if found is None else Members(found, under(self.at, name))

    def settle(self, name: str, inner: "Members | None") -> None:
        """Leave what is left of an object within."""
        if inner is not None:
            self.keep(name, Rest(inner.rest()))

    def rest(self) -> dict[str, Any]:
        """What was not taken: an `extra`."""
        return self._left


def put(out: dict[str, Any], extra: Extra) -> None:
    """Give an object back what its own dialect said beyond the form. What it has already is not touched."""
    for name, value in extra.items():
        if isinstance(value, Rest):
            inner = out.setdefault(name, {})
            if isinstance(inner, dict):
                put(inner, value.members)
        elif name not in out:
            out[name] = value.value if isinstance(value, Spelt) else value


def lose(losses: Losses, at: str, extra: Extra, kept: Collection[str] = ()) -> None:
    """Name what another dialect said beyond the form, but for what was `kept`. Null and false say nothing."""
    for name, value in extra.items():
        if isinstance(value, Rest):
            lose(losses, under(at, name), value.members)
        elif value is not None and value is not False and name not in kept and not isinstance(value, Spelt):
            losses.add(under(at, name))


def lost_field(losses: Losses, at: str, extra: Extra, name: str) -> None:
    """Name a field of the form, which stood in the object within when the part has one (`image_url.detail`)."""
    inner = next((key for key, value in extra.items() if isinstance(value, Rest)), None)
    losses.add(under(at if inner is None else under(at, inner), name))


def object_of(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None when it is none, or has numbers that cannot be written again."""
    if not text.strip():
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    return None if _LARGE.search(text) and not _exact(text) else found


def _exact(text: str) -> bool:
    """Whether no whole number of a JSON text is too large to be one for us (it would be rounded)."""
    return all(
        SMALLEST <= int(number) <= LARGEST for number in re.findall(r"(?<![\w.\"\\+-])-?[0-9]{19,4300}(?![\w.])", text)
    ) and not re.search(r"[0-9]{4301}", text)


def text_of(value: Any) -> str:
    """JSON as text."""
    return orjson.dumps(value).decode()


def data_url(media: str, data: str) -> str:
    """Base64 as an address."""
    return f"data:{media};base64,{data}"


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of such an address; None when it is another, or says more than these."""
    found = _DATA_URL.fullmatch(url)
    return (found[1], found[2]) if found else None


def packed(text: str) -> str:
    """A text in base64."""
    return base64.b64encode(text.encode()).decode()


def unpacked(data: str) -> str | None:
    """The text that base64 holds; None when it holds none, or is written otherwise than we would."""
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text if packed(text) == data else None
