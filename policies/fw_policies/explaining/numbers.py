"""Numbers as people read them: few digits, a unit, and `unknown` for what is not known."""

from collections.abc import Mapping
from typing import Any

from fw_policies.model import NANO_USD

UNKNOWN = "unknown"


def money(nano: float | None) -> str:
    """`$0.0045` for nano-USD: cents from a dollar on, else three significant digits."""
    if nano is None:
        return UNKNOWN
    dollars = nano / NANO_USD
    if dollars == 0:
        return "$0"
    if abs(dollars) >= 1:
        return f"${dollars:,.2f}"
    digits = 2
    size = abs(dollars)
    while size < 0.1 and digits < 14:
        size *= 10
        digits += 1
    return f"${dollars:.{digits}f}".rstrip("0").rstrip(".")


def seconds(value: float | None) -> str:
    """`340 ms`, `4.2 s`, `3.5 min`."""
    if value is None:
        return UNKNOWN
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min"


def pace(value: float | None) -> str:
    """`8.4 ms`, seconds per token."""
    return f"{value * 1000:.3g} ms" if value is not None and value < 0.1 else seconds(value)


def share(value: float | None) -> str:
    """`0.87`, a share of one."""
    return UNKNOWN if value is None else f"{value:.2f}"


FORMS = {"quality": share, "ttft": seconds, "latency": seconds, "tpot": pace, "cost": money}


def interval(measure: str, found: Mapping[str, Any] | None) -> str:
    """An estimate with its interval, and its p95 where one is proven."""
    if found is None:
        return UNKNOWN
    form = FORMS[measure]
    if found["high"] is None or found["n"] < 2:
        text = f"{form(found['mean'])} ({found['n']:.0f} call{'' if found['n'] == 1 else 's'})"
    else:
        text = f"{form(found['mean'])} [{form(found['low'])}, {form(found['high'])}]"
    return f"{text}, p95 {form(found['p95'])}" if found.get("p95") is not None else text


def tokens(count: int | None) -> str:
    """`1,204`."""
    return UNKNOWN if count is None else f"{count:,}"
