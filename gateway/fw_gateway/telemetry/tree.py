"""A trace for people: a tree with bars on one time line, and beside each span what it cost and said."""

from collections.abc import Iterator, Mapping
from typing import Any

from fw_gateway.telemetry.reader import SpanRow, Trace

_EIGHTHS = " ▏▎▍▌▋▊▉"


def seconds(value: float) -> str:
    """A duration with three significant digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"
    return "0"


def money(dollars: float) -> str:
    """An amount in US dollars, with as many digits as it takes to see it."""
    if dollars == 0:
        return "$0"
    digits = 4
    while digits < 9 and dollars < 10 ** -(digits - 2):
        digits += 1
    return f"${dollars:.{digits}f}"


def bar(start: int, end: int, span: SpanRow, width: int) -> str:
    """Where a span lies between `start` and `end`, on `width` characters with eighths at its right edge."""
    whole = max(1, end - start)
    first = min(width - 1, int((span.start - start) / whole * width))
    length = (span.end - span.start) / whole * width
    eighths = max(1, round(min(length, width - first) * 8))
    blocks = "█" * (eighths // 8)
    tail = _EIGHTHS[eighths % 8].strip()
    return (" " * first + blocks + tail).ljust(width)[:width]


def text(trace: Trace, *, width: int = 140) -> str:
    """The whole trace on at most `width` columns."""
    rows = [(prefix, span) for root in trace.roots for prefix, span in _branches(root)]
    names = [_clip(f"{prefix}{span.name}", max(24, width // 3)) for prefix, span in rows]
    column = max(map(len, names))
    bars = max(10, min(24, width - column - 70))
    start, end = trace.start, trace.end
    lines = [_head(trace), ""]
    for name, (_, span) in zip(names, rows, strict=True):
        mark = "✗" if span.status == "ERROR" else " "
        line = f"{name:<{column}} {mark}{bar(start, end, span, bars)} {seconds(span.seconds):>8}  {' · '.join(notes(span))}"
        lines.append(_clip(line.rstrip(), width))
    lines += ["", *_totals(trace)]
    return "\n".join(lines) + "\n"


def waterfall(trace: Trace, *, width: int = 140) -> str:
    """Every span by the moment it began, without the tree."""
    spans = sorted(trace.spans, key=lambda span: (span.start, -span.end))
    column = min(max(len(span.name) for span in spans), width // 3)
    bars = max(12, width - column - 24)
    lines = [_head(trace), ""]
    for span in spans:
        offset = seconds((span.start - trace.start) / 1e9)
        name = _clip(span.name, column)
        drawn = bar(trace.start, trace.end, span, bars)
        lines.append(f"{offset:>9}  {name:<{column}} {drawn} {seconds(span.seconds):>8}".rstrip())
    return "\n".join(lines) + "\n"


def notes(span: SpanRow) -> list[str]:
    """What is worth saying about a span, in a few words each."""
    found = span.attributes
    said: list[str] = []
    if span.status == "ERROR" or "error.type" in found:
        said.append(str(found.get("error.type", span.message or "error")))
    if "fw.route.reason" in found:
        said += _route(found)
    elif "fw.attempt.number" in found:
        said += _attempt(found)
    elif "fw.call.outcome" in found:
        said += _call(found)
    elif found.get("gen_ai.operation.name") == "execute_tool" and found.get("gen_ai.tool.call.id"):
        said.append(str(found["gen_ai.tool.call.id"]))
    return said


def _route(found: Mapping[str, Any]) -> list[str]:
    chosen = found.get("fw.route.selected.deployment") or "nothing"
    said = [f"{found['fw.route.reason']} → {chosen}"]
    reasons = [reason for reason in found.get("fw.route.candidate.exclusion_reasons", ()) if reason]
    if reasons:
        counted = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
        told = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counted.items())
        said.append(f"{len(reasons)} of {found.get('fw.route.candidate.count', len(reasons))} out: {told}")
    return said


def _attempt(found: Mapping[str, Any]) -> list[str]:
    said = []
    if found.get("fw.attempt.reason") != "initial":
        said.append(f"{found.get('fw.attempt.reason')} #{found['fw.attempt.number']}")
    tokens = _tokens(found)
    if tokens:
        said.append(tokens)
    if "fw.cost.amount" in found:
        said.append(money(found["fw.cost.amount"]))
    if "gen_ai.response.time_to_first_chunk" in found:
        said.append(f"ttft {seconds(found['gen_ai.response.time_to_first_chunk'])}")
    if "error.type" not in found and found.get("fw.stream.outcome") not in {None, "completed"}:
        said.append(str(found["fw.stream.outcome"]).replace("_", " "))
    said.append(str(found.get("fw.attempt.deployment", found.get("gen_ai.provider.name", ""))))
    return said


def _tokens(found: Mapping[str, Any]) -> str:
    incoming, outgoing = found.get("gen_ai.usage.input_tokens"), found.get("gen_ai.usage.output_tokens")
    if incoming is None and outgoing is None:
        return ""
    cached = found.get("gen_ai.usage.cache_read.input_tokens")
    part = f" ({cached} cached)" if cached else ""
    return f"{'?' if incoming is None else incoming}{part} → {'–' if outgoing is None else outgoing} tok"


def _call(found: Mapping[str, Any]) -> list[str]:
    said = []
    status = found.get("http.response.status_code")
    if status is not None and status != 200 and str(status) != found.get("error.type"):
        said.append(f"HTTP {status}")
    outcome = str(found["fw.call.outcome"])
    if outcome != "direct":
        said.append(outcome.replace("_", " "))
    if "fw.call.served.model" in found:
        said.append(str(found["fw.call.served.model"]))
    if "fw.call.actual.cost" in found:
        said.append(money(found["fw.call.actual.cost"]))
    if "fw.call.overhead.duration" in found:
        said.append(f"+{seconds(found['fw.call.overhead.duration'])} overhead")
    return said


def _branches(span: SpanRow, lead: str = "", mark: str = "", below: str = "") -> Iterator[tuple[str, SpanRow]]:
    yield f"{lead}{mark}", span
    for number, child in enumerate(span.children, 1):
        last = number == len(span.children)
        yield from _branches(child, lead + below, "└ " if last else "├ ", "  " if last else "│ ")


def _head(trace: Trace) -> str:
    spans = trace.spans
    failed = sum(span.status == "ERROR" for span in spans)
    names = dict.fromkeys(str(span.resource.get("service.name", "")) for span in spans)
    said = [f"trace {trace.trace_id}", f"{len(spans)} span{'s' if len(spans) != 1 else ''}"]
    said.append(seconds((trace.end - trace.start) / 1e9))
    if failed:
        said.append(f"{failed} failed")
    said.append(" + ".join(name for name in names if name))
    return "  ".join(part for part in said if part)


def _totals(trace: Trace) -> list[str]:
    """Tokens and money of the trace: attempts alone carry them, so that nothing counts twice."""
    attempts = [span.attributes for span in trace.spans if "fw.attempt.number" in span.attributes]
    if not attempts:
        return []
    incoming = sum(found.get("gen_ai.usage.input_tokens", 0) for found in attempts)
    outgoing = sum(found.get("gen_ai.usage.output_tokens", 0) for found in attempts)
    costs = [found.get("fw.cost.amount") for found in attempts]
    known = sum(cost for cost in costs if cost is not None)
    unknown = sum(cost is None for cost in costs)
    told = money(known) if not unknown else f"{money(known)} + {unknown} unknown" if unknown < len(costs) else "unknown"
    count = f"{len(attempts)} attempt{'s' if len(attempts) != 1 else ''}"
    return [f"{count} · {incoming} → {outgoing} tokens · cost {told}"]


def _clip(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"
