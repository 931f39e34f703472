"""What a model behind Messages understands of the protocol: Claude's generations differ, and their names say which one it is."""

import re
from dataclasses import dataclass
from typing import Literal

Thinks = Literal["adaptive", "budget", "effort"]
"""How a model is told to think: it decides itself, as hard as the effort says; within a number of tokens; or by the effort alone."""

_VERSION = re.compile(r"claude-(?:([a-z]+)-)?([0-9]{1,2})(?:[-.]([0-9]{1,2})(?![0-9]))?")


@dataclass(frozen=True, slots=True)
class Manners:
    """What may be said to a model; the default is Claude 4.6."""

    thinks: Thinks = "adaptive"
    quiet: Literal["disabled", "between_tools", ""] = "disabled"
    """How it is told not to think; empty: it always does."""
    sampling: bool = True
    """It takes `temperature`, `top_p` and `top_k`, though not with thinking, nor thinking with a tool that must be called."""
    system_anywhere: bool = False
    """It takes the words of the system behind a user's."""


def manners_of(model: str) -> Manners:
    """The manners of a model, by its name. One that is not Claude's has those of the protocol before Claude 4.6, which others copied."""
    found = _VERSION.search(model.lower())
    if found is None:
        return Manners(thinks="budget")
    family, version = found[1], (int(found[2]), int(found[3] or 0))
    if version < (4, 6):
        return Manners(thinks="budget")
    return Manners("adaptive", _quiet(family, version), sampling=version < (4, 7), system_anywhere=version >= (4, 8))


def _quiet(family: str | None, version: tuple[int, int]) -> Literal["disabled", "between_tools", ""]:
    if family in {"fable", "mythos"} or (family == "opus" and version >= (5, 5)):
        return ""
    return "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"
