"""The cost of a call that its export does not say, from the compiled price table. No price: unknown."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from fw_gateway.audit.rows import CallRow
from fw_gateway.catalog import models
from fw_gateway.catalog.providers import providers
from fw_policies.estimate.cost import charge
from fw_policies.model import TokenPrice

ALIASES = {
    "vertex_ai": "vertex",
    "vertex_ai_beta": "vertex",
    "google": "gemini",
    "google_ai_studio": "gemini",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "aws": "bedrock",
    "azure_openai": "azure",
    "az.ai.openai": "azure",
    "mistralai": "mistral",
    "moonshotai": "moonshot",
    "x-ai": "xai",
}
"""What other programs call our providers; the names of OpenTelemetry are in the provider table."""

MAKERS = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "moonshot", "cohere", "perplexity")
"""Providers that serve models of their own: each name of a model is at one of them at most."""


@dataclass(slots=True)
class _Usage:
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None = None


class Prices:
    """Looks prices up, and remembers what it does not know."""

    def __init__(self) -> None:
        self.unknown: Counter[tuple[str, str]] = Counter()
        """(provider, model) -> calls."""
        self.tiered: set[str] = set()
        """Models that charge more for long inputs than was reckoned."""

    def of(self, row: CallRow) -> int | None:
        """Nano-USD; None, and remembered, when the price or the tokens are unknown."""
        price, tiered = price_of(row.provider, row.model)
        if tiered:
            self.tiered.add(row.model)
        cost = charge(price, _Usage(row.input_tokens, row.output_tokens, row.cached_tokens))
        if price is None:
            self.unknown[row.provider, row.model] += 1
        return cost


@lru_cache(maxsize=4096)
def price_of(provider: str, model: str) -> tuple[TokenPrice | None, bool]:
    """(price, whether long inputs cost more). Without a provider: that of the model's maker; None: no price is known."""
    name = _ours(provider)
    for each in (name,) if name else MAKERS:
        facts = models.lookup(each, model)
        if facts is not None and facts.price is not None:
            return facts.price, models.tiered(each, model)
    return None, False


def _ours(provider: str) -> str:
    """Our name of a provider; the name itself where it is nobody's; empty when none was said."""
    bare = provider.lower()
    if not bare or bare in providers:
        return bare
    named = {row.otel_name: name for name, row in providers.items() if row.otel_name}
    return ALIASES.get(bare) or named.get(bare) or bare.partition(".")[0]
