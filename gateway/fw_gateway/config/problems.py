"""What is wrong with a config: all of it at once, each with its place and a cure."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`models.qwen.deployments[0].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def near(word: str, known: Iterable[str]) -> str:
    """`Did you mean …?`, or what there is to choose from, or nothing."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=2, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(f'`{name}`' for name in close)}?"
    return f"Known: {', '.join(choices)}." if 0 < len(choices) <= 30 else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: str
    """`models.qwen.deployments[0].url`, or a file, or an environment variable."""
    message: str
    hint: str = ""
    """What to do about it."""
    line: int | None = None
    """Line in the config file, counted from 1."""

    def __str__(self) -> str:
        places = [f"line {self.line}"] if self.line is not None else []
        text = ": ".join([*places, *([self.path] if self.path else []), self.message])
        return f"{text} {self.hint}".strip()


class ConfigError(Exception):
    """The config cannot be used. `problems` holds every reason."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        head = f"{source or 'config'}: {len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class Problems:
    """The collector that every reader writes into."""

    def __init__(self, lines: Mapping[Path, int] | None = None) -> None:
        self.found: list[Problem] = []
        self.warnings: list[str] = []
        self.assumptions: list[str] = []
        self.tiered: list[str] = []
        """Deployments whose price rises with the length of the input."""
        self._lines = lines or {}

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Something that must be mended before the config can be used."""
        place = path
        while place and place not in self._lines:
            place = place[:-1]
        self.found.append(Problem(dotted(path), message, hint, self._lines.get(place) if place else None))

    def warn(self, path: Path, message: str) -> None:
        """Something the operator should know."""
        self.warnings.append(f"{dotted(path)}: {message}" if path else message)
