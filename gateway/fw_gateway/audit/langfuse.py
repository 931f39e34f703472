"""Langfuse: observations (enriched or legacy blob export, API, table export), scores and traces.

Field names: langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields (snake case); the API and the exports of
the tables say the same in camel case.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fw_gateway.audit.rows import (
    ANY,
    BadRow,
    CallRow,
    Row,
    RunName,
    Score,
    between,
    count,
    fingerprint,
    first,
    fraction,
    labels,
    listing,
    mapping,
    nano,
    number,
    tagged,
    text,
    when,
)

NAME = "Langfuse"
CALLS = frozenset({"GENERATION", "EMBEDDING"})
OTHERS = frozenset({"SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record is an observation, a score or a trace of Langfuse."""
    row = _snake(record)
    return _observation(row) or _score(row) or _trace(row)


def read(record: Mapping[str, Any]) -> Iterator[Row]:
    """The call and the outcomes of one record; a trace with its observations gives those of all.

    Raises:
        BadRow: a generation without a model.
    """
    row = _snake(record)
    if _score(row):
        yield from _scores(row, "", "")
    elif _observation(row):
        yield from _call(row)
    else:
        yield from _run(row)


def _snake(record: Mapping[str, Any]) -> dict[str, Any]:
    return {_CAMEL.sub("_", key).lower(): value for key, value in record.items()}


def _observation(row: Mapping[str, Any]) -> bool:
    return text(row.get("type")).upper() in CALLS | OTHERS and ("trace_id" in row or "start_time" in row)


def _score(row: Mapping[str, Any]) -> bool:
    return "name" in row and "value" in row and ("trace_id" in row or "observation_id" in row) and "type" not in row


def _trace(row: Mapping[str, Any]) -> bool:
    return "id" in row and "timestamp" in row and ("session_id" in row or "observations" in row or "scores" in row)


def _run(row: Mapping[str, Any]) -> Iterator[Row]:
    run = text(row.get("id"))
    if name := text(row.get("name")):
        yield RunName(run, name)
    for item in listing(row.get("observations")):
        if isinstance(item, Mapping):
            inner = _snake(item)
            if _observation(inner):
                yield from _call({"trace_id": run, **inner})
    for item in listing(row.get("scores")):
        if isinstance(item, Mapping):
            yield from _scores(_snake(item), run, "")


def _scores(row: Mapping[str, Any], run: str, call: str) -> Iterator[Row]:
    value = fraction(row.get("value"))
    if value is None:
        value = fraction(row.get("string_value"))
    run, call = text(row.get("trace_id")) or run, text(row.get("observation_id")) or call
    if value is not None and (run or call):
        yield Score(run, call, text(row.get("name")), value)


def _call(row: Mapping[str, Any]) -> Iterator[Row]:
    if text(row.get("type")).upper() not in CALLS:
        return
    model = text(first(row, "provided_model_name", "model", "model_name"))
    if not model:
        raise BadRow("a generation without a model")
    run, identity = text(row.get("trace_id")), text(row.get("id"))
    metadata = mapping(row.get("metadata"))
    tags = tagged(listing(row.get("tags")) or listing(row.get("trace_tags")))
    agent, step, _ = labels(metadata, tags)
    usage = {**mapping(row.get("usage")), **mapping(row.get("usage_details"))}
    start, end = when(row.get("start_time")), when(row.get("end_time"))
    begun = when(row.get("completion_start_time"))
    incoming, cached = _input(row, usage)
    prefix, slash, bare = model.partition("/")
    yield CallRow(
        time=start,
        run=run or identity,
        call=identity,
        agent=text(row.get("trace_name")) or agent,
        step=step or _name(row, model) or fingerprint(mapping(row.get("model_parameters")).get("tools")) or ANY,
        model=bare if slash else model,
        provider=prefix if slash else "",
        input_tokens=incoming,
        output_tokens=_output(row, usage),
        cached_tokens=cached,
        cost=_cost(row, usage),
        latency=between(start, end) if end is not None else number(row.get("latency")),
        ttft=between(start, begun) if begun is not None else number(row.get("time_to_first_token")),
        ok=text(row.get("level")).upper() != "ERROR",
    )
    for item in listing(row.get("scores")):
        if isinstance(item, Mapping):
            yield from _scores(_snake(item), run, identity)


def _name(row: Mapping[str, Any], model: str) -> str:
    """The observation's own name, unless it is what every client library calls every call."""
    name = text(row.get("name"))
    return "" if name.lower() in NOTHING or name == model else name


NOTHING = frozenset({
    "generation", "openai-generation", "openai-generation-stream", "chatopenai", "chatanthropic", "llm", "completion",
    "litellm-completion", "litellm-acompletion", "litellm_request", "openai.chat", "chat", "ai.generatetext.dogenerate",
    "ai.streamtext.dostream",
})  # fmt: skip


def _input(row: Mapping[str, Any], usage: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(all input, of it cached). `input` of the usage details leaves out what has a key of its own."""
    parts = {key: count(value) for key, value in usage.items() if "input" in key.lower() or "prompt" in key.lower()}
    cached = next((parts[key] for key in CACHED if parts.get(key) is not None), None)
    whole = count(first(row, "input_usage", "prompt_tokens", "input_tokens"))
    if whole is not None:
        return whole, cached
    base = count(first(usage, "input", "prompt_tokens", "input_tokens"))
    if base is None:
        return None, cached
    apart = sum(
        value for key, value in parts.items() if value and key.startswith(("input_", "cache")) and key != "input_tokens"
    )
    return base + apart, cached


CACHED = ("input_cached_tokens", "cache_read_input_tokens", "input_cache_read", "input_cached")


def _output(row: Mapping[str, Any], usage: Mapping[str, Any]) -> int | None:
    whole = count(first(row, "output_usage", "completion_tokens", "output_tokens"))
    if whole is not None:
        return whole
    base = count(first(usage, "output", "completion_tokens", "output_tokens"))
    extra = sum(
        count(value) or 0 for key, value in usage.items() if key.startswith("output_") and key != "output_tokens"
    )
    return None if base is None else base + extra


def _cost(row: Mapping[str, Any], usage: Mapping[str, Any]) -> int | None:
    """What it says; 0 for tokens means that Langfuse knew no price of the model, and is unknown."""
    details = mapping(row.get("cost_details"))
    said = first(row, "total_cost", "calculated_total_cost")
    cost = nano(first(details, "total") if said is None else said)
    used = (_input(row, usage)[0] or 0) + (_output(row, usage) or 0)
    return None if cost == 0 and used else cost
