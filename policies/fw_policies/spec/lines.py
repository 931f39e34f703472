"""The small languages inside a policy: `p95 ttft <= 2s`, `quality >= 98% of baseline`, `attempt >= 3`."""

import re

from fw_policies.model import Requirement
from fw_policies.spec import units
from fw_policies.spec.model import Condition
from fw_policies.spec.problems import near

MEASURES = ("quality", "cost", "latency", "ttft", "tpot")
FACTS = ("attempt", "budget_left", "hour")
_LINE = re.compile(r"(?:p(\d{1,2}(?:\.\d+)?)\s+)?([a-z_]+)\s*(>=|<=|==|!=|>|<|unlimited)\s*(.*)")
_WHEN = re.compile(r"([a-z_]+(?:\.[\w-]+)?)\s*(>=|<=|==|!=|>|<|\bin\b)\s*(.+)")


class Unread(ValueError):
    """A line that is not in the language."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Say what, and what to do."""
        super().__init__(message)
        self.message = message
        self.hint = hint


def requirement(text: str) -> Requirement:
    """One line of `require`; `limit`, `relative` and `margin` all None means `unlimited`.

    Raises:
        Unread: it is not in the language.
    """
    found = _LINE.fullmatch(" ".join(text.split()))
    if found is None:
        raise Unread(f"`{text}` cannot be read.", "Write `measure op value`, like `p95 ttft <= 2s`.")
    percentile, measure, op, value = found.groups()
    if measure not in MEASURES:
        raise Unread(f"`{measure}` is no measure.", near(measure, MEASURES))
    if op == "unlimited":
        if value or percentile:
            raise Unread(f"`{text}` cannot be read.", f"Write `{measure} unlimited`.")
        return Requirement(measure, text, None, None)  # type: ignore[arg-type]
    if measure == "quality":
        return _quality(text, op, value, percentile)
    if op != "<=":
        raise Unread(f"`{text}`: {measure} is bounded from above.", f"Write `{measure} <= {value}`.")
    share = float(percentile) / 100 if percentile else None
    if share is not None and not 0.5 <= share < 1:
        raise Unread(f"`p{percentile}` is no useful percentile.", "Use p50 to p99.9.")
    if share is None and measure != "cost":
        hint = f"Write `p95 {measure} <= {value}`."
        raise Unread(f"`{text}`: a bound on {measure} needs a percentile; no call can promise more.", hint)
    try:
        limit = float(units.money(value)) if measure == "cost" else units.seconds(value)
    except units.Unreadable as fault:
        raise Unread(f"{fault}.") from None
    return Requirement(measure, text, share, limit)  # type: ignore[arg-type]


def _quality(text: str, op: str, value: str, percentile: str | None) -> Requirement:
    if percentile:
        raise Unread(f"`{text}`: quality is a mean, it has no percentile.", f"Write `quality {op} {value}`.")
    if op != ">=":
        raise Unread(f"`{text}`: quality is bounded from below.", f"Write `quality >= {value}`.")
    try:
        if value.endswith("of baseline"):
            return Requirement("quality", text, None, None, relative=units.share(value.removesuffix("of baseline")))
        if value.startswith("baseline"):
            rest = value.removeprefix("baseline").strip()
            if not rest.startswith("-"):
                hint = "Allow a margin: `quality >= baseline - 1pt`, or `quality >= 99% of baseline`."
                raise Unread(f"`{text}`: no worse, without a margin, cannot be proven from any number of calls.", hint)
            return Requirement("quality", text, None, None, margin=units.points(rest[1:]))
        limit = units.share(value)
    except units.Unreadable as fault:
        raise Unread(f"{fault}.") from None
    if limit > 1:
        raise Unread(f"`{text}`: no quality is above 1.", "Write a share, like `80%` or `0.8`.")
    return Requirement("quality", text, None, limit)


def conditions(text: str) -> tuple[Condition, ...]:
    """The comparisons of a `when`, joined by `and`.

    Raises:
        Unread: it is not in the language.
    """
    return tuple(_condition(part.strip()) for part in re.split(r"\band\b", text))


def _condition(text: str) -> Condition:
    found = _WHEN.fullmatch(text)
    if found is None:
        raise Unread(f"`{text}` cannot be read.", "Write `attempt >= 3` or `label.severity in sev1|sev2`.")
    fact, op, value = found[1], found[2], found[3].strip()
    if fact.startswith("label."):
        if op == "in":
            return Condition(fact, op, tuple(part.strip() for part in value.split("|")))
        if op not in {"==", "!="}:
            raise Unread(f"`{text}`: labels are texts; compare them with ==, != or in.")
        return Condition(fact, op, value)
    if fact not in FACTS:
        raise Unread(f"`{fact}` is no fact.", near(fact, [*FACTS, "label.NAME"]))
    try:
        if fact == "budget_left":
            return Condition(fact, op, float(units.money(value)))
        if op == "in":
            return Condition(fact, op, tuple(str(int(part)) for part in value.split("|")))
        return Condition(fact, op, float(value))
    except (ValueError, units.Unreadable) as fault:
        raise Unread(f"`{text}`: {fault}.") from None


def never(condition: Condition) -> str:
    """Why a condition can never hold; empty when it can."""
    value = condition.value
    if not isinstance(value, float):
        return ""
    lowest, highest = {"attempt": (1, float("inf")), "hour": (0, 23), "budget_left": (0, float("inf"))}[condition.fact]
    holds = {
        "<": value > lowest,
        "<=": value >= lowest,
        ">": value < highest,
        ">=": value <= highest,
        "==": lowest <= value <= highest,
        "!=": True,
    }
    return "" if holds[condition.op] else f"{condition.fact} is never {condition.op} {value:g}"
