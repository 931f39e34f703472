"""What is wrong with a policy, all of it at once."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    path: str
    """Dotted, e.g. `steps.edit.require[1]`."""
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message} {self.hint}".strip()


class PolicyError(ValueError):
    """A policy that is refused; the one in force stays."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """`problems` are all that were found."""
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Found:
    """Collects problems."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, path: str, message: str, hint: str = "") -> None:
        """One more."""
        self.problems.append(Problem(path, message, hint))

    def not_yet(self, path: str, what: str, instead: str) -> None:
        """A part of the language that is understood but not executed: refused, never ignored."""
        self.add(path, f"not yet: {what} is part of the language, but this version does not execute it.", instead)


def near(name: object, known: Iterable[str]) -> str:
    """A hint with the nearest known names."""
    names = sorted(known)
    found = difflib.get_close_matches(str(name), names, 2, 0.5)
    if found:
        return f"Did you mean `{'` or `'.join(found)}`?"
    return f"Known: {', '.join(names)}." if names else ""
