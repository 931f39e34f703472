"""The report for people: plain lines, no colours, nothing that is not in the mapping."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fw_gateway.audit.collect import RUN
from fw_policies.explaining.numbers import UNKNOWN, money, seconds

ROWS = 12
"""Rows of a table; what is left is summed in one line."""
NAME = 11


def report(found: Mapping[str, Any]) -> list[str]:
    """All of it."""
    return [
        *_head(found),
        "",
        *_table(found, "steps"),
        "",
        *_table(found, "models"),
        *_prices(found),
        "",
        *_promises(found),
    ]


def _head(found: Mapping[str, Any]) -> list[str]:
    total, window = found["total"], found["window"]
    lines = [
        f"AUDIT   {', '.join(found['formats'])}   {_many(total['calls'], 'call')}   {_many(found['runs'], 'run')}   nothing was sent"
    ]
    if window is not None:
        lines.append(_field("window", f"{window['from'][:10]} to {window['to'][:10]} ({window['days']:.1f} days)"))
    month = f", {money(total['month'])} a month at this rate" if total["month"] is not None else ""
    short = "" if month else ", too short a window to say a month" if window else ", no times to say a month"
    unknown = total["calls_of_unknown_cost"]
    if unknown == total["calls"]:
        lines.append(_field("spend", UNKNOWN))
    else:
        more = f", and {_many(unknown, 'call')} of unknown cost" if unknown else ""
        lines.append(_field("spend", f"{money(total['cost'])}{month}{short}{more}"))
    lines.append(
        _field(
            "tokens",
            f"{total['input_tokens']:,} in, {_share(total['cache_share'])} cached; {total['output_tokens']:,} out",
        )
    )
    if total["failed"]:
        lines.append(_field("failed", _many(total["failed"], "call")))
    lines.extend(_field("unread", f"{count:,} × {kind}") for kind, count in found["unread"].items())
    return lines


def _table(found: Mapping[str, Any], what: str) -> list[str]:
    """Spend by step or by model."""
    rows = found[what]
    if what == "steps":
        several = len({row["agent"] for row in rows}) > 1 or (rows[:1] and rows[0]["agent"])
        names = [f"{row['agent']}/{row['step']}" if several and row["agent"] else row["step"] for row in rows]
    else:
        names = [f"{row['model']} @{row['provider']}" if row["provider"] else row["model"] for row in rows]
    cells = [
        [
            "spend by step" if what == "steps" else "by model",
            "spend",
            "share",
            "a month",
            "calls",
            "cached",
            "p50",
            "p95",
            "p95 ttft",
        ]
    ]
    for name, row in list(zip(names, rows, strict=True))[:ROWS]:
        all_unknown = row["calls_of_unknown_cost"] == row["calls"]
        cells.append([
            name, UNKNOWN if all_unknown else money(row["cost"]), UNKNOWN if all_unknown else _share(row["share"]),
            money(row["month"]), f"{row['calls']:,}", _share(row["cache_share"]), seconds(row["latency"]["p50"]),
            seconds(row["latency"]["p95"]), seconds(row["ttft"]["p95"]),
        ])  # fmt: skip
    lines = columns(cells)
    if rest := rows[ROWS:]:
        lines.append(f"and {len(rest)} more: {money(sum(row['cost'] for row in rest))}; --json has them all")
    return lines


def _prices(found: Mapping[str, Any]) -> list[str]:
    prices, listed = found["prices"], found["total"]["calls_priced_from_the_table"]
    lines = []
    if listed:
        lines.append(
            _field("prices", f"{_many(listed, 'call')} without a cost in the export: reckoned by {prices['table']}")
        )
    if prices["tiered"]:
        lines.append(_field("prices", f"base price taken, long inputs cost more: {', '.join(prices['tiered'][:6])}"))
    for row in prices["unknown"][:6]:
        name = f"{row['model']} @{row['provider']}" if row["provider"] else row["model"]
        lines.append(_field("no price", f"{name}: {_many(row['calls'], 'call')}, unknown and not counted"))
    if rest := prices["unknown"][6:]:
        lines.append(_field("no price", f"and {len(rest)} models more"))
    return ["", *lines] if lines else []


def _promises(found: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    if found["outcome"] is None:
        lines.append(_field("outcomes", "none in the files: nothing about quality can be promised"))
    else:
        lines.append(_field("outcome", f"{found['outcome']} ({found['outcomes'].get(found['outcome'], 0):,} of them)"))
        others = [name for name in found["outcomes"] if name != found["outcome"]]
        if others:
            lines.append(_field("others", f"{', '.join(others[:6])}   --outcome takes another"))
    lines.extend(
        _field("not used", f"{_many(count, 'outcome')} {why.replace('_', ' ')}")
        for why, count in found["unused_outcomes"].items()
        if count
    )
    for agent in found["agents"]:
        lines += ["", *_agent(agent)]
    return lines


def _agent(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{found['agent'] or 'all calls'}   baseline {found['baseline']}   {_many(found['runs_with_outcome'], 'run')} with an outcome"
    ]
    for promise in found["promises"]:
        lines += promised(promise)
    for row in found["missing"]:
        if row["baseline_needs"] or row["other_needs"]:
            about = "if quality is near" if row["quality_is_a_guess"] else "at the quality seen,"
            lines.append(
                _field(
                    "missing",
                    f"{row['step']}: {row['baseline_needs']:,} more outcomes of the baseline and {row['other_needs']:,} "
                    f"of one other model, {about} {row['quality']:.2f}",
                )
            )
    return lines


def promised(promise: Mapping[str, Any]) -> list[str]:
    """One ratio: the promise over all steps, those of single steps, and what is refused."""
    floor = f"≥ {promise['ratio'] * 100:.0f}%"
    together, each = promise["together"], promise["each"]
    alone = [step for step, one in each.items() if one["saved"] is not None] if len(each) > 1 else []
    lines = []
    if together["saved"] is not None:
        lines.append(_field(_word(together), f"{floor}: saves {saving(together)}{_over(together)}"))
        lines.append(_field("", f"plan: {plan(together)}"))
    for step in alone:
        one = each[step]
        lines.append(_field(_word(one), f"{floor} at {step} by itself: {one['plan'][step]} saves {saving(one)} there"))
    if any(not one["stands"] for one in (together, *(each[step] for step in alone)) if one["saved"] is not None):
        lines.append(
            _field("", "only if models were not chosen by how hard a run was; --randomised says that they were not")
        )
    if together["saved"] is None:
        lines.append(
            _field(
                "refused",
                f"{floor} over all: {_reason(together)}" if len(each) > 1 else f"{floor}: {_reason(together)}",
            )
        )
    return lines


def _word(one: Mapping[str, Any]) -> str:
    return "proven" if one["stands"] else "would be"


def _over(one: Mapping[str, Any]) -> str:
    mine, theirs = one["quality"]
    return f"   quality {mine:.3f} against {theirs:.3f} on {one['tested']:,} runs that chose nothing"


def _reason(one: Mapping[str, Any]) -> str:
    more = max(one["more"].values(), default=0)
    return (
        one["refused"][-1] + (f"; about {more:,} more would" if more else "") if one["refused"] else "nothing cheaper"
    )


def saving(one: Mapping[str, Any]) -> str:
    """`45% [35, 53]`."""
    found = one["saved"]
    return f"{found['mean'] * 100:.0f}% [{found['low'] * 100:.0f}, {found['high'] * 100:.0f}]"


def plan(one: Mapping[str, Any]) -> str:
    """Who serves what, the baseline's steps last and together."""
    moved = [f"{step} {model}" for step, model in one["plan"].items() if model != one["baseline"]]
    kept = [step for step, model in one["plan"].items() if model == one["baseline"]]
    if kept == [RUN]:
        kept = ["whole runs"]
    return "; ".join([*moved, f"the baseline keeps {', '.join(kept)}"] if kept else moved)


def _field(name: str, value: str) -> str:
    return f"{name:<{NAME}} {value}"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value * 100:.0f}%"


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells under each other: the first column to the left, numbers to the right."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    return [
        "  ".join(
            [f"{row[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]
