"""The one shape that every export is read into: a call, an outcome, or the name of a run. And how to read other people's values."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NANO = 1_000_000_000
ANY = "*"
"""The step that nobody named."""
LONGEST = 120
"""Characters of a name; a client may send megabytes as one."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call of a model. None is unknown, never 0."""

    time: float | None
    """Seconds since the epoch."""
    run: str
    call: str
    """Its id, by which outcomes name it; empty when they cannot."""
    agent: str
    step: str
    model: str
    provider: str
    input_tokens: int | None
    """With those that came from a cache."""
    output_tokens: int | None
    cached_tokens: int | None
    cost: int | None
    """Nano-USD, as the export says it."""
    latency: float | None
    """Seconds for the whole answer."""
    ttft: float | None
    ok: bool


@dataclass(frozen=True, slots=True)
class Score:
    """An outcome of a call or, when `call` is empty, of a run or of one step of it."""

    run: str
    call: str
    name: str
    value: float
    step: str = ""
    """The step of the run that it speaks about; empty: all of it."""


@dataclass(frozen=True, slots=True)
class RunName:
    """The agent that a run was of, where the export says it apart from the calls."""

    run: str
    agent: str


Row = CallRow | Score | RunName


class BadRow(ValueError):
    """A record that is of the format and cannot be used. The message says why, in words that many records share."""


def text(value: Any) -> str:
    """A name, or the empty string."""
    return value[:LONGEST] if isinstance(value, str) else "" if value is None else str(value)[:LONGEST]


def first(record: Mapping[str, Any], *names: str) -> Any:
    """The first of `names` that has a value; None: none has."""
    for name in names:
        value = record.get(name)
        if value is not None and value != "":
            return value
    return None


def number(value: Any) -> float | None:
    """A finite number from a number or its text (CSV has only text); None: it is none."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int | None:
    """A number of tokens; None: it is none, or not a possible one."""
    found = number(value)
    return int(found) if found is not None and 0 <= found < 1 << 53 else None


def nano(value: Any) -> int | None:
    """US dollars as nano-USD; None: unknown, or less than nothing."""
    found = number(value)
    return round(found * NANO) if found is not None and 0 <= found < 1e9 else None


def when(value: Any) -> float | None:
    """Seconds since the epoch from ISO 8601, `YYYY-MM-DD HH:MM:SS.ffffff` (UTC), or seconds, milli-, micro- or nanoseconds."""
    found = number(value)
    if found is not None:
        for limit, scale in ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)):
            if 0 < found < limit:
                return found / scale
        return None
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value.strip().replace(" UTC", "Z"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def between(start: float | None, end: float | None) -> float | None:
    """Seconds from one moment to another; None when either is unknown or the end is first."""
    return end - start if start is not None and end is not None and end >= start else None


def opened(value: Any) -> Any:
    """A mapping or list that a CSV holds as JSON text, opened; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """The mapping that it is, or is the JSON text of; else an empty one."""
    if isinstance(value, dict):  # by far the most frequent, and a quick question
        return value
    found = opened(value)
    return found if isinstance(found, dict) else {}


def listing(value: Any) -> list[Any]:
    """The list that it is, or is the JSON text of; else an empty one."""
    found = opened(value)
    return found if isinstance(found, list) else []


STEP_KEYS = (
    "step",
    "fw_step",
    "x-fw-step",
    "langgraph_node",
    "node",
    "node_name",
    "task_name",
    "taskName",
    "generation_name",
)
AGENT_KEYS = ("agent", "fw_agent", "x-fw-agent", "agent_name", "graph_id", "workflow", "trace_name", "app")
RUN_KEYS = ("run", "fw_run", "x-fw-run", "run_id", "session_id", "langfuse_session_id", "thread_id", "trace_id")


def labels(*places: Mapping[str, Any]) -> tuple[str, str, str]:
    """(agent, step, run) from metadata, the first place that has each; empty when none has."""
    return (_find(places, AGENT_KEYS), _find(places, STEP_KEYS), _find(places, RUN_KEYS))


def _find(places: Iterable[Mapping[str, Any]], keys: tuple[str, ...]) -> str:
    for place in places:
        if place:
            for key in keys:
                value = place.get(key)
                if value.__class__ is str and value:
                    return str(value)[:LONGEST]
    return ""


def tagged(tags: Iterable[Any]) -> dict[str, str]:
    """Tags of the form `step:edit` or `step=edit` as a mapping; others say nothing that we can know."""
    found: dict[str, str] = {}
    for tag in tags:
        if isinstance(tag, str):
            for mark in (":", "="):
                key, there, value = tag.partition(mark)
                if there and value:
                    found.setdefault(key.strip(), value.strip())
                    break
    return found


def fingerprint(tools: Any) -> str:
    """A step's stand-in name from the tools it was given, in an order of our own; empty without tools."""
    names = sorted(set(_tool_names(tools)))
    if not names:
        return ""
    more = f"+{len(names) - 3}" if len(names) > 3 else ""
    return f"tools({','.join(names[:3])}{more})"[:LONGEST]


def _tool_names(tools: Any) -> Iterator[str]:
    for tool in listing(tools):
        if isinstance(tool, Mapping):
            inner = tool.get("function")
            name = inner.get("name") if isinstance(inner, Mapping) else tool.get("name")
            if isinstance(name, str) and name:
                yield name


def fraction(value: Any) -> float | None:
    """An outcome as a number: booleans and their words as 1 and 0; None: it is none."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return float(value.lower() == "true")
    return number(value)
