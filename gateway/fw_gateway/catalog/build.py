"""Makes `data/models.json` from a LiteLLM price file (capabilities, limits, retirement dates) and the genai-prices library (prices).

usage: python -m fw_gateway.catalog.build LITELLM_JSON[.gz] --source 'litellm 1.109.1' [-o models.json]

Prices are genai-prices' alone, at its base tier: where the two sources disagree (deepseek-chat and mistral-large-latest by 2 to 4 times)
it wins, and where it knows nothing the price is unknown. docs/why-prices.md says why this is compiled and not imported by the server.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fw_gateway.catalog.models import CAPABILITIES
from fw_gateway.catalog.providers import providers
from fw_gateway.clock import today
from fw_policies.model import NANO_USD

FAMILIES: Mapping[str, str] = {
    "openai": "openai",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "together_ai": "together",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "xai": "xai",
    "moonshot": "moonshot",
    "cerebras": "cerebras",
    "perplexity": "perplexity",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai-language-models": "vertex",
    "vertex_ai-anthropic_models": "vertex",
    "vertex_ai-embedding-models": "vertex",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "azure": "azure",
    "cohere": "cohere",
    "cohere_chat": "cohere",
}
"""LiteLLM's provider names -> our rows."""

FLAGS: Mapping[str, tuple[str, ...]] = {
    "supports_function_calling": ("tools",),
    "supports_tool_choice": ("tool_choice",),
    "supports_parallel_function_calling": ("parallel_tools",),
    "supports_response_schema": ("json_schema", "json_mode"),
    "supports_vision": ("vision",),
    "supports_reasoning": ("reasoning",),
}
_ROUTES = (
    "fireworks_ai/",
    "together_ai/",
    "deepseek/",
    "groq/",
    "mistral/",
    "openrouter/",
    "xai/",
    "moonshot/",
    "cerebras/",
    "perplexity/",
    "gemini/",
    "vertex_ai/",
    "bedrock/",
    "azure/",
    "cohere/",
)


def bits(entry: Mapping[str, Any]) -> int:
    """The capabilities of a LiteLLM entry, one bit each."""
    have: set[str] = {"embeddings"} if entry.get("mode") == "embedding" else {"chat", "stream"}
    if entry.get("supports_native_streaming") is False:
        have.discard("stream")
    for flag, names in FLAGS.items():
        if entry.get(flag):
            have.update(names)
    return sum(1 << bit for bit, name in enumerate(CAPABILITIES) if name in have)


def upstream_name(key: str) -> str:
    """The name the provider itself uses: LiteLLM's key without its routing prefix."""
    for route in _ROUTES:
        if key.startswith(route):
            return key[len(route) :]
    return key


def entries(litellm: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Any]]]:
    """(row, model, [bits, context, max_output, deprecated_on, None]) for every chat or embedding model of our rows."""
    for key, entry in litellm.items():
        row = FAMILIES.get(str(entry.get("litellm_provider")))
        if row is None or entry.get("mode") not in ("chat", "embedding") or " " in key:
            continue
        limit = entry.get("max_input_tokens") or entry.get("max_tokens")
        context, output = _whole(limit), _whole(entry.get("max_output_tokens"))
        yield row, upstream_name(key), [bits(entry), context, output, entry.get("deprecation_date"), None]


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value > 0 else None


def nano(price: Any) -> int | None:
    """Nano-USD per million tokens of a genai-prices price, at its base tier."""
    if price is None:
        return None
    return int(Decimal(getattr(price, "base", price)) * NANO_USD)


class Prices:
    """The genai-prices snapshot, asked at one moment."""

    def __init__(self, at: datetime) -> None:
        """Load the library: 40 MiB resident, which is why only this program does."""
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

        self._at = at
        self._all = list(get_snapshot().providers)
        self._by_id = {provider.id: provider for provider in self._all}

    def models(self, provider: str) -> list[str]:
        """Ids of every model that the library prices for `provider`."""
        return [model.id for model in self._by_id[provider].models] if provider in self._by_id else []

    def find(self, provider: str, model: str) -> tuple[list[int | None] | None, int | None]:
        """([input, output, cached_input, cache_write, 1 if tiered], context window); (None, None): not known."""
        source = self._by_id.get(provider)
        found = source.find_model(model, all_providers=self._all) if source else None
        if found is None:
            return None, None
        price = found.get_prices(self._at)
        fields = [
            getattr(price, name, None) for name in ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
        ]
        numbers = [nano(field) for field in fields]
        if numbers[0] is None:
            return None, found.context_window
        numbers[1] = numbers[1] or 0  # embeddings have no output to charge for
        tiers = [1] if any(hasattr(field, "tiers") for field in fields) else []
        return [*numbers, *tiers], found.context_window


def build(litellm: Mapping[str, Mapping[str, Any]], prices: Prices) -> dict[str, dict[str, list[Any]]]:
    """The whole table: row -> model -> entry."""
    table: dict[str, dict[str, list[Any]]] = {name: {} for name, row in providers.items() if row.prices}
    for row, model, entry in entries(litellm):
        table[row].setdefault(model, entry)
    for name, models in table.items():
        for model in prices.models(providers[name].prices):
            # A model that only the price list knows: that it chats is all that may be said.
            models.setdefault(
                model, [bits({"mode": "embedding" if "embed" in model else "chat"}), None, None, None, None]
            )
        for model, entry in models.items():
            entry[4], window = prices.find(providers[name].prices, model)
            entry[1] = max(window or 0, entry[1] or 0) or None
    return {name: dict(sorted(models.items())) for name, models in table.items()}


def render(table: Mapping[str, Mapping[str, list[Any]]], *, price_version: str, source: str) -> str:
    """The file's text: JSON with one model a line, so that a diff shows what changed."""
    parts = []
    for name, models in table.items():
        lines = ",\n".join(
            f"{json.dumps(model)}:{json.dumps(entry, separators=(',', ':'))}" for model, entry in models.items()
        )
        parts.append(f"{json.dumps(name)}:{{\n{lines}\n}}")
    head = f'"prices":{json.dumps(price_version)},\n"capabilities":{json.dumps(source)},\n'
    return "{\n" + head + '"models":{\n' + ",\n".join(parts) + "\n}\n}\n"


def main() -> int:
    """Read, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("litellm", type=Path, help="LiteLLM's price file, JSON or JSON.gz")
    parser.add_argument("--source", required=True, help="name and version of that file, for the record")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "data" / "models.json")
    options = parser.parse_args()
    raw = options.litellm.read_bytes()
    if options.litellm.suffix == ".gz":
        raw = gzip.decompress(raw)
    date = today()
    prices = Prices(datetime.fromisoformat(f"{date}T12:00:00").replace(tzinfo=UTC))
    table = build(json.loads(raw), prices)
    text = render(table, price_version=f"genai-prices {version('genai-prices')}, {date}", source=options.source)
    options.output.write_text(text, encoding="utf-8")
    known = sum(entry[4] is not None for models in table.values() for entry in models.values())
    total = sum(map(len, table.values()))
    sys.stdout.write(f"{options.output}: {total} models, {known} priced, {len(text)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
