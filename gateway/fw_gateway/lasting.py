"""What was made of an object, for as long as that object lives."""

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import ref

Key = TypeVar("Key")
Made = TypeVar("Made")


class Lasting(Generic[Key, Made]):
    """Remembers what was made of an object by the object itself, not by what it is equal to, and forgets it with the object.

    Plans are made anew every second and shared by the calls between; each holds on to all that was known when it was made.
    """

    __slots__ = ("_kept", "_make")

    def __init__(self, make: Callable[[Key], Made]) -> None:
        """`make` is called once for each object, which must allow weak references."""
        self._make = make
        self._kept: dict[int, tuple[ref[Key], Made]] = {}

    def __getitem__(self, key: Key) -> Made:
        found = self._kept.get(id(key))
        if found is not None:
            return found[1]
        made = self._make(key)
        number, kept = id(key), self._kept
        # Called before the object's memory, and so its id, can become another's.
        kept[number] = ref(key, lambda _: kept.pop(number, None)), made
        return made

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
