"""Members that stand twice in a body: two readers would take it for two different requests.

The members by which the gateway decides are looked for in one pass over the bytes. One that occurs once is not there twice; only for
others is it worked out where they stand.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fw_gateway.providers.splice import members

NAMES = (
    "model", "messages", "tools", "n", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens",
    "temperature", "top_p", "seed", "stop", "tool_choice", "response_format",
)  # fmt: skip
"""What is asked of whom, how much of it, and how."""
_SPELT = re.compile(rb'"(' + "|".join(NAMES).encode() + rb')"\s*:')


def duplicate(body: bytes, fields: Mapping[str, Any]) -> str:
    """The first of `NAMES` that stands twice at the top of `body`, which is `fields` when parsed; empty: none does."""
    spelt = _SPELT.findall(body)
    if len(spelt) == len(set(spelt)):
        return ""
    often = Counter(name.decode() for name in spelt)
    for name, count in _inner(fields).items():
        often[name] -= count
    if max(often.values()) <= 1:
        return ""
    top = Counter(name for name, _, _ in members(body))
    return next((name for name in NAMES if top[name] > 1), "")


def _inner(fields: Mapping[str, Any]) -> Counter[str]:
    """How often each of `NAMES` is a member of something below the top."""
    found: Counter[str] = Counter()
    todo = [value for value in fields.values() if isinstance(value, (dict, list))]
    while todo:
        holder = todo.pop()
        if isinstance(holder, dict):
            found.update(name for name in NAMES if name in holder)
        inner = holder.values() if isinstance(holder, dict) else holder
        todo += [value for value in inner if isinstance(value, (dict, list))]
    return found
