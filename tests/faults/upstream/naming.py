"""A mode as a name: `fx-<mode>[:arg][@port-set]`, anywhere in the model's name or in the header `x-fx`."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"(?:^|.*?[/_.-])?fx-(?P<mode>[a-z0-9_]+)(?::(?P<arg>[^@]*))?(?:@(?P<ports>[0-9,-]+))?$")
_BARE = re.compile(r"(?P<mode>[a-z0-9_]+)(?::(?P<arg>[^@]*))?(?:@(?P<ports>[0-9,-]+))?$")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request, a script or a port asks to be played."""

    mode: str = "ok"
    values: tuple[str, ...] = ()
    """Positional parts of the argument."""
    named: tuple[tuple[str, str], ...] = ()
    ports: frozenset[int] | None = None
    """Replicas that play it; the others answer well. None: all."""

    @property
    def text(self) -> str:
        """The mode with its argument, for the log."""
        parts = [*self.values, *(f"{name}={value}" for name, value in self.named)]
        return self.mode + (f":{','.join(parts)}" if parts else "")

    def get(self, name: str, default: str = "") -> str:
        """A named part of the argument."""
        return dict(self.named).get(name, default)

    def number(self, default: float, place: int = 0) -> float:
        """A positional part as a number; `x10` is 10."""
        try:
            return float(self.values[place].lstrip("x"))
        except (IndexError, ValueError):
            return default

    def at(self, port: int) -> "Wanted":
        """What the replica `port` plays."""
        return self if self.ports is None or port in self.ports else Wanted()


def _ports(text: str | None) -> frozenset[int] | None:
    if not text:
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def parse(text: str, *, bare: bool = False) -> Wanted | None:
    """The mode in a model's name, or (`bare`) written without `fx-`; None: there is none."""
    found = _NAME.match(text) or (_BARE.match(text) if bare else None)
    if found is None:
        return None
    parts = [part.strip() for part in (found["arg"] or "").split(",") if part.strip()]
    named = tuple((name, value) for name, mark, value in (part.partition("=") for part in parts) if mark)
    values = tuple(part for part in parts if "=" not in part)
    return Wanted(found["mode"], values, named, _ports(found["ports"]))
