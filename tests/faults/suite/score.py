"""The scorecard: rows out of findings, as JSON, as Markdown, and as the last line."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.suite.check import PASS, WORST, Check, Finding
from tests.faults.suite.promises import PROMISES


@dataclass(frozen=True, slots=True)
class Row:
    """One promise and what became of it."""

    number: int
    verdict: str
    """The worst of its checks; a check that cannot be judged keeps the row from passing."""
    measured: str
    why: str


def rows(findings: dict[str, tuple[Check, Finding]]) -> list[Row]:
    """A row for each promise that was looked at."""
    found = []
    for number in PROMISES:
        mine = [(check, finding) for check, finding in findings.values() if check.row == number]
        if not mine:
            continue
        verdict = min((finding.verdict for _, finding in mine), key=WORST.__getitem__)
        measured = "; ".join(f"{check.name}: {finding.measured}" for check, finding in mine if finding.measured)
        why = "; ".join(f"{check.name}: {finding.why}" for check, finding in mine if finding.why)
        found.append(Row(number, verdict, measured, why))
    return found


def never(findings: dict[str, tuple[Check, Finding]]) -> list[str]:
    """Every never-event, with the check that saw it."""
    return [f"{check.id}: {event}" for check, finding in findings.values() for event in finding.never]


def last_line(findings: dict[str, tuple[Check, Finding]]) -> str:
    """`N/M promises, K never-events`."""
    found = rows(findings)
    return f"{sum(row.verdict == PASS for row in found)}/{len(found)} promises, {len(never(findings))} never-events"


def as_json(findings: dict[str, tuple[Check, Finding]], about: dict[str, Any]) -> str:
    """Everything, the raw observations included."""
    checks = [
        {"id": check.id, "row": check.row, "says": check.says, **asdict(finding)}
        for check, finding in findings.values()
    ]
    found = {
        **about,
        "summary": last_line(findings),
        "rows": [asdict(row) for row in rows(findings)],
        "never": never(findings),
        "checks": checks,
    }
    return json.dumps(found, indent=1, default=str, ensure_ascii=False) + "\n"


def _cell(text: str, limit: int = 400) -> str:
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.replace("|", "\\|").replace("\n", " ")


def as_markdown(findings: dict[str, tuple[Check, Finding]], about: dict[str, Any]) -> str:
    """The table for people."""
    events = never(findings)
    lines = [
        f"# Scorecard of `{about['gateway']}`",
        "",
        f"**{last_line(findings)}.** Written by `make faults`: profile `{about['profile']}`, seed {about['seed']}, "
        f"{about['seconds']:.0f} s on {about['cores']} cores, {about['date']}.",
        "",
        "A row passes when all of its checks do. `safe`: not as promised, but no harm was done and the client was told. `n/a`: part of it",
        "could not be judged, and so it does not count as kept. Figures of time are of a machine that client, gateway and upstream share.",
        "",
        "| # | promise | figure | measured | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in rows(findings):
        promise, figure = PROMISES[row.number]
        verdict = "**pass**" if row.verdict == PASS else row.verdict
        lines.append(f"| {row.number} | {promise} | {_cell(figure)} | {_cell(row.measured)} | {verdict} |")
    lines += [
        "",
        "## Never-events",
        "",
        *([f"- {event}" for event in events] or ["None."]),
        "",
        "## What is missing",
        "",
    ]
    for row in rows(findings):
        if row.verdict != PASS:
            lines.append(f"- **{row.number}** ({row.verdict}) {_cell(row.why or row.measured, 900)}")
    return "\n".join(lines) + "\n"


def write(findings: dict[str, tuple[Check, Finding]], about: dict[str, Any], markdown: Path) -> None:
    """Write the scorecard beside its JSON."""
    markdown.write_text(as_markdown(findings, about))
    markdown.with_suffix(".json").write_text(as_json(findings, about))
