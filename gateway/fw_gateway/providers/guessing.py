"""Tokens that no provider reported, estimated from what was said: four bytes of text to a token, an event of a stream to a token. Pure.

An estimate is for the books alone, and flagged there. Nothing is learnt from it, and telemetry does not carry it: there, what was not
reported is absent.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from fw_gateway.values import Usage

BYTES = 4
"""Of text, to a token."""
ASKED = ("messages", "input", "prompt", "system", "instructions", "tools")
"""Members of a request that the model reads."""
ANSWERED = ("choices", "content", "output")
PICTURES = ("image_url", "input_image", "image")
"""Types of parts that are pictures, in the three protocols; no set, for a client's type may be anything, a list too."""
PICTURE = 1_500
"""Tokens of a picture where that is all that is known of it: what a large one costs (OpenAI some 1,100, Anthropic up to 1,600)."""
_NO_TEXT = frozenset(
    {
        "id", "type", "role", "object", "model", "status", "finish_reason", "index", "call_id", "tool_call_id", "tool_use_id", "signature",
        "encrypted_content", "image_url", "input_audio", "source", "file", "file_data", "cache_control", "logprobs", "annotations",
    }
)  # fmt: skip
"""Members that are no text to a model, or none that counts by its length: names, pictures, sounds, files."""


def asked(fields: Mapping[str, Any], *, picture: int = 0) -> int:
    """Tokens of a request, with so many for each picture."""
    return _tokens(fields, ASKED, picture)


def answered(body: bytes) -> int | None:
    """Tokens of a whole answer; None: it cannot be read."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return _tokens(found, ANSWERED) if isinstance(found, dict) else None


def completed(reported: Usage | None, incoming: int | None, outgoing: int | None) -> Usage | None:
    """What was reported, with estimates for what was not; None: nothing is missing, or nothing is known of it."""
    known = reported or Usage()
    missing = (known.input_tokens is None and incoming is not None) or (
        known.output_tokens is None and outgoing is not None
    )
    if not missing:
        return None
    return Usage(
        incoming if known.input_tokens is None else known.input_tokens,
        outgoing if known.output_tokens is None else known.output_tokens,
        known.cached_tokens,
        known.cache_write_tokens,
        known.reasoning_tokens,
    )


def _tokens(found: Mapping[str, Any], names: tuple[str, ...], picture: int = 0) -> int:
    size, todo = 0, [found[name] for name in names if name in found]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            size += len(one) if one.isascii() else len(one.encode("utf-8", "replace"))
        elif isinstance(one, list):
            todo += one
        elif isinstance(one, int) and not isinstance(one, bool):
            size += BYTES  # a token already, where texts are given as such
        elif isinstance(one, dict):
            if picture and one.get("type") in PICTURES:
                size += picture * BYTES
            todo += [value for name, value in one.items() if name not in _NO_TEXT]
    return max(1, -(-size // BYTES))
