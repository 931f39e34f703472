"""A gate: what was asked of a figure, what it is, and whether that is enough."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gate:
    """One line of the verdict."""

    gate: str
    data: str
    ours: float | None
    """None: could not be measured; the note says why."""
    anchor: float | None
    """What is known to be reached by others, or by a simpler router in the same run."""
    target: float | None
    """None: printed for reading, not judged."""
    passed: bool | None
    low: float | None = None
    high: float | None = None
    """A 90 % interval of `ours`, where there is one."""
    note: str = ""
    unit: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON; NaN is None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def at_least(gate: str, data: str, ours: float, *, target: float, anchor: float | None = None, **more: Any) -> Gate:
    """A figure that must not be smaller."""
    return Gate(gate, data, ours, anchor, target, bool(ours >= target - 1e-9), **more)


def at_most(gate: str, data: str, ours: float, *, target: float, anchor: float | None = None, **more: Any) -> Gate:
    """A figure that must not be larger."""
    return Gate(gate, data, ours, anchor, target, bool(ours <= target + 1e-9), **more)


def unmeasured(gate: str, data: str, why: str) -> Gate:
    """A gate that could not be tried; it has not passed."""
    return Gate(gate, data, None, None, None, None, note=why)
