"""OpenAI embeddings in and out: answers are read for the record and relayed. Pure."""

from collections.abc import Mapping
from typing import Any

from fw_gateway.providers.splice import with_model
from fw_gateway.providers.watching import Answer, loaded, number, text
from fw_gateway.values import Usage


def rewrite(body: bytes, fields: Mapping[str, Any], *, model: str, usage: bool) -> bytes:
    """The request for another `model`; there is no stream whose `usage` one could ask for."""
    return body if fields["model"] == model else with_model(body, model)


def read_answer(body: bytes) -> Answer:
    """An embeddings answer, read for the record and checked for being one."""
    found = loaded(body)
    if isinstance(found, str):
        return Answer(problem=found)
    if not isinstance(found.get("data"), list):
        return Answer(problem="the upstream's answer has no data")
    usage = found.get("usage")
    counted = Usage(input_tokens=number(usage, "prompt_tokens")) if isinstance(usage, Mapping) else None
    return Answer(text(found.get("id")), text(found.get("model")), counted)
