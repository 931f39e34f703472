"""A draft policy from a report: today's model as the baseline, the steps that were seen, limits that today's calls keep."""

import re
from collections.abc import Mapping
from typing import Any

from fw_gateway.audit.collect import RUN
from fw_gateway.audit.rows import ANY

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
SLACK = 1.5
"""A limit is this many times the p95 that was seen: a start, to be made yours."""
ROOM = (1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600)
STEPS = 40


def policy(found: Mapping[str, Any], agent: Mapping[str, Any]) -> str:
    """YAML for one agent of the report, that `fw policy check` takes."""
    name = _name(agent["agent"] or "audited")
    rows = [row for row in found["steps"] if row["agent"] == agent["agent"]]
    outcome = _word(found["outcome"] or "task_done")
    said = "" if found["outcome"] else "   # no outcome was in the export: report one of this name"
    scope = (
        "run"
        if found["outcome"] is None or any(RUN in promise["together"]["plan"] for promise in agent["promises"])
        else "step"
    )
    lines = [
        f"# A draft by `fw audit`, from {found['total']['calls']:,} calls. Limits are {SLACK} × the p95 that was seen. Make it yours.",
        f"policy: {name}",
        "",
        "# The model that most was spent on. It serves every step until something else is proven to do.",
        f"baseline: {_quoted(agent['baseline'])}",
        "",
        f"quality: {{outcome: {outcome}, of: {scope}, within: 1h, confidence: 90%}}{said}",
        "",
        "default:",
        "  minimize: cost",
        "  require:",
        "    - quality >= 98% of baseline",
    ]
    named = [row for row in rows if row["step"] != ANY and _PLAIN.fullmatch(row["step"])][:STEPS]
    if named:
        lines += ["", "steps:"]
    for row in named:
        limit = _limit(row["latency"]["p95"])
        share = "" if row["share"] is None else f", {row['share'] * 100:.0f}% of the spend"
        lines.append(f"  {_quoted(row['step'])}:   # {row['calls']:,} calls{share}")
        lines.append(f"    require: [p95 latency <= {limit}s]" if limit else "    minimize: cost")
    return "\n".join(lines) + "\n"


def _limit(p95: float | None) -> int | None:
    if p95 is None:
        return None
    return next((room for room in ROOM if room >= SLACK * p95), None)


def _name(text: str) -> str:
    bare = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")
    return bare if bare[:1].isalpha() else f"agent-{bare or 'audited'}"


def _word(text: str) -> str:
    bare = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower()
    return bare if bare[:1].isalpha() else f"outcome_{bare}"


def _quoted(text: str) -> str:
    return (
        text
        if _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false")
        else '"' + re.sub(r'["\\\x00-\x1f]', "", text) + '"'
    )
