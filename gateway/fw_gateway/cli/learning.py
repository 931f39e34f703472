"""`fw policy what-if | compare | diff`: what another policy would have given, which of two is better, and what would change."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from fw_gateway.cli import changes, lessons, output
from fw_gateway.cli.options import ConfigFile, Json, read_config
from fw_gateway.config import Config
from fw_gateway.config.problems import near
from fw_policies.explaining.numbers import money, share

WHAT_IF = "Examples: fw policy what-if coding; fw policy what-if mine.yaml --of coding; fw policy what-if coding --use edit=gpt-5-mini"
COMPARE = (
    "Examples: fw policy compare coding coding2 --margin 2pt; fw policy compare variant=a variant=b --since 30d --json"
)
DIFF = "Examples: fw policy diff coding mine.yaml; fw policy diff locks/history/coding-1ab9a5.lock.json locks/coding.lock.json --json"

Since = Annotated[str, typer.Option("--since", metavar="AGE", help="How far back the ledger is read: 12h, 7d, 4w.")]
Outcome = Annotated[
    str | None, typer.Option("--outcome", metavar="NAME", help="What quality is; without it, what the policy says.")
]


def register(group: typer.Typer) -> None:
    """Put the commands into the group `fw policy`."""
    group.command("what-if", epilog=WHAT_IF)(what_if)
    group.command("compare", epilog=COMPARE)(compare)
    group.command("diff", epilog=DIFF)(diff)


def what_if(
    *,
    policy: Annotated[str, typer.Argument(help="A policy of the config, a built-in one, or a policy file.")],
    of: Annotated[
        str | None, typer.Option("--of", metavar="POLICY|AGENT", help="Whose calls; without it, the policy's own.")
    ] = None,
    use: Annotated[
        list[str] | None,
        typer.Option("--use", metavar="STEP=MODEL", help="This model at this step; `*`: at every step."),
    ] = None,
    outcome: Outcome = None,
    since: Since = "7d",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """What this policy would have given on calls that were made: with an interval, or a refusal that says why."""
    found = read_config(config)
    chosen = lessons.policy(found, policy)
    models = {target.model for target in (endpoint.target for endpoint in found.endpoints)}
    told = lessons.what_if(
        found, chosen, of or policy, since_ns=seconds_since(since), use=_uses(use or (), models), outcome=outcome
    )
    if as_json:
        output.emit(told)
        return
    output.line(f"{chosen.name} instead of what served   last {since}, {told['calls']} calls, {told['runs']} runs")
    output.table(
        ["step", "calls", "served", "would serve", "as before"],
        [
            [row["step"], str(row["calls"]), _models(row["served"]), _models(row["would"]), share(row["same"])]
            for row in told["steps"]
        ],
    )
    output.line()
    for name in ("quality", "cost"):
        output.line(f"{name:<10}{_told(name, told[name])}")


def _told(name: str, found: Mapping[str, Any]) -> str:
    if found["refused"]:
        return f"refused: {found['refused']}   {found['rows']} {found['unit']}s, ESS {found['ess']:.0f}"
    low, high = found["interval"]
    change, least, most = found["difference"]
    show = money if name == "cost" else _quality
    sign = "+" if change >= 0 else "−"
    return (
        f"{show(found['value'])} [{show(low)}, {show(high)}] a {found['unit']}   was {show(found['logged'])}   "
        f"change {sign}{show(abs(change))} [{_signed(show, least)}, {_signed(show, most)}]   ESS {found['ess']:.0f}"
    )


def _quality(value: float) -> str:
    return f"{value:.3f}"


def _signed(show: Any, value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{show(abs(value))}"


def _models(found: Mapping[str, float]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{name} {weight:.0%}" for name, weight in sorted(found.items(), key=lambda item: -item[1])[:3])


def compare(
    *,
    a: Annotated[
        str, typer.Argument(metavar="A", help="What serves: a policy, a version of one, or a label NAME=VALUE.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What may replace it, named alike.")],
    margin: Annotated[
        str, typer.Option("--margin", metavar="POINTS", help="Quality that B may be worse by: 2pt, 0.5pt.")
    ] = "2pt",
    cost_margin: Annotated[
        str,
        typer.Option("--cost-margin", metavar="USD|any", help="What a run may cost more; `any`: cost is not tested."),
    ] = "0",
    outcome: Outcome = None,
    since: Since = "30d",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """PROMOTE, REJECT or INCONCLUSIVE: B against A over the runs that the ledger has of both."""
    found = read_config(config)
    told = lessons.compare(
        found, (a, b), since_ns=seconds_since(since), margins=(_points(margin), _dollars(cost_margin)), outcome=outcome
    )
    if as_json:
        output.emit(told)
        return
    more = "" if told["more"] is None else f"; about {told['more']} more tasks of each would decide"
    output.line(f"{told['verdict']}   {told['reason']}{more}")
    output.line(f"{b} against {a}   last {since}, {told['runs'][0]} and {told['runs'][1]} runs")
    for name in ("quality", "cost"):
        line = told[name]
        if line is None:
            output.line(f"{name:<10}unknown")
            continue
        show = money if name == "cost" else _quality
        how = "paired" if line["paired"] else "unpaired"
        output.line(
            f"{name:<10}{show(line['a'])} → {show(line['b'])}   change {_signed(show, line['value'])} "
            f"[{_signed(show, line['low'])}, {_signed(show, line['high'])}] at {told['confidence']:.0%} each   "
            f"{line['tasks'][0]} and {line['tasks'][1]} tasks, {how}"
        )
    if told["mixed"]:
        output.line(f"{told['mixed']} runs used both and are left out")


def diff(
    *,
    a: Annotated[
        str, typer.Argument(metavar="A", help="What serves: a policy of the config, a policy file, or a lock.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What would replace it.")],
    since: Since = "7d",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """What changes per step when B replaces A, before anything is applied."""
    found = read_config(config)
    told = _diff(found, (a, b), seconds_since(since))
    if as_json:
        output.emit(told)
        return
    output.line(f"{a} ({told['versions'][0]}) → {b} ({told['versions'][1]})   at the volume of the last {since}")
    for row in told["steps"]:
        output.line(f"{row['step']}: {_change(row)}")
    if not any(row["changed"] for row in told["steps"]):
        output.line("no step changes its plan")


def _diff(found: Config, sides: tuple[str, str], since_ns: int) -> dict[str, Any]:
    """Two locks, or two policies.

    Raises:
        Fail: it is one of each.
    """
    a, b = (changes.lock(side) for side in sides)
    if a is not None and b is not None:
        return changes.diff(found, a, b, since_ns=since_ns)
    if a is not None or b is not None:
        raise output.Fail("a lock is compared with a lock, a policy with a policy.", code=output.USAGE)
    first, second = (lessons.policy(found, side) for side in sides)
    return lessons.diff(found, first, second, since_ns=since_ns)


def _change(row: Mapping[str, Any]) -> str:
    before, after = row["before"], row["after"]
    parts = [f"{_shape(before)}, unchanged" if not row["changed"] else f"{_shape(before)} → {_shape(after)}"]
    monthly = row["monthly"]
    if monthly is not None:
        value, low, high = monthly
        bounds = ", ".join("unbounded" if bound is None else _signed(money, bound) for bound in (low, high))
        parts.append(f"{_signed(money, value)}/month [{bounds}]")
    elif row["changed"]:
        parts.append("cost unknown" if row["calls"] else "no calls yet")
    if row["promise"]:
        parts.append(f"quality promise {row['promise']}")
    return ", ".join(parts)


def _shape(found: Mapping[str, Any]) -> str:
    words = [found["strategy"], ", ".join(found["models"]) or "nothing"]
    if found["verify"]:
        words.append(f"until {', '.join(found['verify'])}")
    if found["effort"]:
        words.append(f"at {found['effort']} effort")
    return " ".join(words)


_UNITS: Mapping[str, int] = {"h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_since(text: str) -> int:
    """An age like `7d` as the moment it names, in nanoseconds since the epoch.

    Raises:
        Fail: it is none.
    """
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if found is None or not int(found[1]):
        raise output.Fail(f"`{text}` is no age.", "Write 12h, 7d or 4w.", code=output.USAGE)
    return lessons.ago(int(found[1]) * _UNITS[found[2]])


def _points(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:pt|%)", text.strip())
    value = float(found[1]) / 100 if found is not None else 0.0
    if not 0 < value < 1:
        hint = "Write --margin 2pt: `no worse` without a margin cannot be proven."
        raise output.Fail(f"`{text}` is no margin.", hint, code=output.USAGE)
    return value


def _dollars(text: str) -> float | None:
    """Nano-USD; None: any."""
    if text == "any":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:\s*USD)?", text.strip())
    if found is None:
        raise output.Fail(f"`{text}` is no amount.", "Write --cost-margin '0.01 USD', or any.", code=output.USAGE)
    return float(found[1]) * 1e9


def _uses(said: Sequence[str], models: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in said:
        step, equals, model = text.partition("=")
        if not equals or not step:
            raise output.Fail(f"`{text}` names no step and model.", "Write --use edit=MODEL.", code=output.USAGE)
        if model not in models:
            raise output.Fail(f"there is no model `{model}`.", near(model, models), code=output.USAGE)
        found[step] = model
    return found
