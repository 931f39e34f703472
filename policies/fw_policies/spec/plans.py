"""The keys of a step that say how a plan may be walked: `verify`, `explore`, `effort`, `sticky`, `allow`."""

from collections.abc import Mapping
from typing import Any

from fw_policies.spec import checks, units
from fw_policies.spec.model import EFFORTS, Explore
from fw_policies.spec.problems import Found, near

PLANS = ("cascade", "fall_back", "hedge", "best_of_n", "mixture")
EXECUTED = ("cascade", "fall_back", "hedge", "mixture")
STICKY = ("loop", "conversation")
PRIORITIES = ("low", "normal", "high")
_LIMITS = ("share", "max_cost", "max_quality_loss")


def verify(value: Any, path: str, found: Found) -> tuple[str, ...]:
    """The checks that an answer must pass, in the order they are run: those of the client last, for they cost a round trip."""
    if value is None:
        return ()
    out: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        try:
            check = checks.spelt(item)
        except ValueError as fault:
            found.add(f"{path}.verify", f"{fault}.", f"Built in: {', '.join(checks.BUILT_IN)}.")
            continue
        if check in out:
            found.add(f"{path}.verify", f"`{check}` stands there twice.")
        out.append(check)
    if len(out) > checks.MOST:
        found.add(f"{path}.verify", f"names more than {checks.MOST} checks.")
    if sum(not checks.is_built_in(check) for check in out) > 1:
        found.add(f"{path}.verify", "names two checks of the client's own.", "Make them one function.")
    return tuple(sorted(out, key=lambda check: not checks.is_built_in(check)))


def effort(value: Any, path: str, found: Found) -> tuple[str, ...]:
    """The reasoning efforts that may be asked for, in rising order."""
    if value is None:
        return ()
    named = value if isinstance(value, list) else [value]
    for name in named:
        if name not in EFFORTS:
            found.add(f"{path}.effort", f"`{name}` is no effort.", near(name, EFFORTS))
    if not named:
        found.add(f"{path}.effort", "names no effort.", f"Known: {', '.join(EFFORTS)}.")
    return tuple(name for name in EFFORTS if name in named)


def sticky(value: Any, path: str, found: Found) -> str:
    """What keeps its model: a `loop` (one run) or a `conversation` (one thread); empty: nothing does."""
    if value is None:
        return ""
    if value not in STICKY:
        found.add(f"{path}.sticky", f"cannot be `{value}`.", near(value, STICKY))
        return ""
    return str(value)


def priority(value: Any, path: str, found: Found) -> str:
    """Which calls go first where not all can be served at once."""
    if value is None:
        return "normal"
    if value not in PRIORITIES:
        found.add(f"{path}.priority", f"cannot be `{value}`.", near(value, PRIORITIES))
        return "normal"
    return str(value)


def flag(raw: Mapping[str, Any], key: str, path: str, found: Found) -> bool:
    """A key that is true or false; absent: false."""
    value = raw.get(key, False)
    if not isinstance(value, bool):
        found.add(f"{path}.{key}", f"must be true or false, not {value!r}.")
    return value is True


def allow(value: Any, path: str, found: Found) -> tuple[str, ...]:
    """Plans that may be used; what is not executed yet is refused."""
    if value is None:
        return ()
    if not isinstance(value, list):
        found.add(f"{path}.allow", f"must be a list, not {value!r}.", f"Write `allow: [{value}]`.")
        return ()
    for name in value:
        if name not in PLANS:
            found.add(f"{path}.allow", f"`{name}` is no plan.", near(name, PLANS))
        elif name not in EXECUTED:
            hint = f"Leave it out; {', '.join(EXECUTED)} and single are executed."
            found.not_yet(f"{path}.allow", f"the plan `{name}`", hint)
    return tuple(name for name in value if name in EXECUTED)


def explore(value: Any, path: str, found: Found, *, scope: str = "") -> Explore | None:
    """The three limits of exploring; all of them, or it is refused. `scope` names the purse they are paid from."""
    if value is None:
        return None
    path = f"{path}.explore".lstrip(".")
    if not isinstance(value, Mapping):
        hint = "Write `explore: {share: 5%, max_cost: 1 USD/day, max_quality_loss: 2pt}`."
        found.add(path, f"must be a mapping, not {value!r}.", hint)
        return None
    for key in value:
        if key not in _LIMITS:
            found.add(f"{path}.{key}", "is not a key of the language.", near(key, _LIMITS))
    missing = [key for key in _LIMITS if key not in value]
    if missing:
        found.add(path, f"lacks {', '.join(missing)}.", "Exploring is bounded three ways, or it is not done.")
        return None
    amount, _, each = str(value["max_cost"]).partition("/")
    try:
        share, cost = units.share(str(value["share"])), units.money(amount)
        loss = units.points(str(value["max_quality_loss"]))
    except units.Unreadable as fault:
        found.add(path, f"{fault}.")
        return None
    if each.strip() != "day":
        found.add(f"{path}.max_cost", f"`{value['max_cost']}` says not per what.", "Write `1 USD/day`.")
    if not 0 < share <= 0.5:
        found.add(f"{path}.share", f"must be above 0 and at most 50%, not {value['share']}.")
    if loss >= 1:
        found.add(f"{path}.max_quality_loss", "must be less than 100 points.")
    return Explore(share, cost, loss, scope)
