"""What is known of a provider's model before anyone calls it: capabilities, context, retirement date, price. Read from one data file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from fw_gateway.catalog.rows import ModelFacts
from fw_policies.model import TokenPrice

CAPABILITIES = (
    "chat",
    "embeddings",
    "tools",
    "tool_choice",
    "parallel_tools",
    "json_schema",
    "json_mode",
    "vision",
    "reasoning",
    "stream",
)
"""The closed set, in the order of the bits in the data file."""


@dataclass(frozen=True, slots=True)
class _Data:
    prices: str
    source: str
    models: Mapping[str, Mapping[str, list[Any]]]


@lru_cache(maxsize=1)
def _data() -> _Data:
    text = resources.files("fw_gateway.catalog").joinpath("data/models.json").read_text(encoding="utf-8")
    raw = json.loads(text)
    return _Data(raw["prices"], raw["capabilities"], raw["models"])


def price_version() -> str:
    """Which price table the shipped data was compiled from, e.g. `genai-prices 0.2.3, 2026-11-23`."""
    return _data().prices


def names(provider: str) -> tuple[str, ...]:
    """Every model the catalog knows of `provider`, sorted."""
    return tuple(_data().models.get(provider, ()))


def lookup(provider: str, model: str) -> ModelFacts | None:
    """What is known of `model` at `provider`; None: nothing. A price of None is unknown, not free."""
    entry = _data().models.get(provider, {}).get(model)
    if entry is None:
        return None
    bits, context, max_output, deprecated_on, price = entry
    return ModelFacts(
        provider=provider,
        model=model,
        capabilities=frozenset(name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1),
        context=context,
        max_output=max_output,
        deprecated_on=deprecated_on,
        price=None if price is None else TokenPrice(*price[:4]),
    )


def tiered(provider: str, model: str) -> bool:
    """Whether the provider charges more for long inputs than the (base) price says."""
    entry = _data().models.get(provider, {}).get(model)
    return bool(entry and entry[4] and entry[4][4:])


def release() -> None:
    """Give the table's memory back; the next question reads it again."""
    _data.cache_clear()
