"""LiteLLM: rows of `LiteLLM_SpendLogs` (a CSV or JSON of the table, or `/spend/logs`), and the standard logging payload.

Column names: litellm's schema.prisma; payload: docs.litellm.ai/docs/proxy/logging_spec.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fw_gateway.audit.rows import (
    ANY,
    BadRow,
    CallRow,
    Row,
    between,
    count,
    fingerprint,
    first,
    labels,
    listing,
    mapping,
    nano,
    tagged,
    text,
    when,
)

NAME = "LiteLLM"


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record is one of LiteLLM's."""
    payload = _payload(record)
    return "call_type" in payload and ("spend" in payload or "response_cost" in payload)


def read(record: Mapping[str, Any]) -> Iterator[Row]:
    """The call of one record.

    Raises:
        BadRow: it names no model.
    """
    payload = _payload(record)
    # A wildcard route keeps its pattern as the group; what was called is `model`.
    model = text(first(payload, "model", "model_group"))
    provider = text(payload.get("custom_llm_provider"))
    if not model:
        raise BadRow("no model")
    prefix, slash, bare = model.partition("/")
    if slash and (not provider or prefix == provider):
        provider, model = prefix, bare
    metadata = mapping(payload.get("metadata"))
    agent, step, run = labels(
        mapping(metadata.get("spend_logs_metadata")),
        mapping(metadata.get("requester_metadata")),
        metadata,
        tagged(listing(payload.get("request_tags"))),
    )
    start, end = when(payload.get("startTime")), when(payload.get("endTime"))
    usage = {**mapping(metadata.get("additional_usage_values")), **mapping(metadata.get("usage_object"))}
    request = mapping(payload.get("proxy_server_request"))
    tools = first(mapping(payload.get("model_parameters")), "tools") or mapping(request.get("body", request)).get(
        "tools"
    )
    identity = text(first(payload, "request_id", "id"))
    yield CallRow(
        time=start,
        run=run or text(first(payload, "session_id", "trace_id")) or identity,
        call=identity,
        agent=agent or text(metadata.get("user_api_key_alias")),
        step=step or fingerprint(tools) or ANY,
        model=model,
        provider=provider,
        input_tokens=count(payload.get("prompt_tokens")),
        output_tokens=count(payload.get("completion_tokens")),
        cached_tokens=_cached(usage),
        cost=_cost(payload),
        latency=between(start, end),
        ttft=_ttft(payload, start, end),
        ok=text(first(payload, "status") or metadata.get("status")) != "failure",
    )


def _payload(record: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = record.get("standard_logging_object")
    return inner if isinstance(inner, Mapping) else record


def _cached(usage: Mapping[str, Any]) -> int | None:
    details = mapping(usage.get("prompt_tokens_details"))
    return count(first(details, "cached_tokens") if first(details, "cached_tokens") is not None else
                 first(usage, "cache_read_input_tokens"))  # fmt: skip


def _cost(payload: Mapping[str, Any]) -> int | None:
    """What it says; but 0 for tokens that no cache answered means that LiteLLM knew no price, and is unknown."""
    cost = nano(first(payload, "response_cost", "spend"))
    hit = text(payload.get("cache_hit")).lower() == "true"
    used = (count(payload.get("prompt_tokens")) or 0) + (count(payload.get("completion_tokens")) or 0)
    return None if cost == 0 and used and not hit else cost


def _ttft(payload: Mapping[str, Any], start: float | None, end: float | None) -> float | None:
    """Time to the first token; a call that did not stream has the end there, which says nothing."""
    begun = when(payload.get("completionStartTime"))
    return between(start, begun) if begun != end else None
