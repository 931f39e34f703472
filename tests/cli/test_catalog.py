"""Rows, capabilities and prices are what the providers publish."""

from importlib import resources

from fw_gateway.catalog import build, models
from fw_gateway.catalog.local import local_models
from fw_gateway.catalog.providers import providers
from fw_policies.model import TokenPrice


def test_every_row_stands_under_its_own_name_and_can_be_reached() -> None:
    """A hosted row has a url and a key, a bridged one a key, a self-hosted one needs neither."""
    for name, row in providers.items():
        assert row.name == name
        assert row.otel_name
        hosted = not (row.self_hosted or row.bridge or name == "openai_compatible")
        assert bool(row.key_env) == (
            hosted or (row.bridge and name != "litellm")
        )  # any provider: the config names its key
        assert row.base_url.startswith("https://") == hosted
        assert not row.base_url.endswith("/")


def test_the_rows_cover_what_is_promised() -> None:
    """Hosted, self-hosted and bridged."""
    assert set(providers) >= {
        "openai", "fireworks", "together", "deepseek", "groq", "mistral", "openrouter", "xai", "moonshot", "cerebras", "perplexity",
        "ollama", "lmstudio", "vllm", "sglang", "llamacpp", "embedded", "openai_compatible", "anthropic", "gemini", "bedrock", "vertex",
        "cohere", "azure",
    }  # fmt: skip


def test_a_known_model_has_its_price_limits_and_date() -> None:
    """gpt-5: 1.25 and 10 USD per million tokens, 400,000 tokens, retired on 2026-12-11."""
    facts = models.lookup("openai", "gpt-5")
    assert facts is not None
    assert facts.price == TokenPrice(1_250_000_000, 10_000_000_000, 125_000_000)
    assert (facts.context, facts.max_output, facts.deprecated_on) == (400_000, 128_000, "2026-12-11")
    assert {"chat", "tools", "tool_choice", "json_schema", "vision", "reasoning", "stream"} <= facts.capabilities
    assert "embeddings" not in facts.capabilities


def test_an_embedding_model_embeds_and_does_not_chat() -> None:
    """Its output costs nothing, which is known and so is 0."""
    facts = models.lookup("openai", "text-embedding-3-small")
    assert facts is not None
    assert facts.capabilities == {"embeddings"}
    assert facts.price == TokenPrice(20_000_000, 0)


def test_where_the_sources_disagree_genai_prices_wins() -> None:
    """mistral-large-latest: 2 and 6 USD there, 0.5 and 1.5 in the other."""
    facts = models.lookup("mistral", "mistral-large-latest")
    assert facts is not None
    assert facts.price == TokenPrice(2_000_000_000, 6_000_000_000)


def test_a_price_with_tiers_is_taken_at_its_base_and_marked() -> None:
    """gpt-5.5 doubles above 272,000 tokens."""
    facts = models.lookup("openai", "gpt-5.5")
    assert facts is not None
    assert facts.price is not None
    assert facts.price.input == 5_000_000_000
    assert models.tiered("openai", "gpt-5.5")
    assert not models.tiered("openai", "gpt-5")


def test_what_is_not_known_is_unknown() -> None:
    """No entry, no guess; an entry without a price has price None, never 0."""
    assert models.lookup("openai", "no-such-model") is None
    assert models.lookup("nobody", "gpt-5") is None
    unpriced = models.lookup("fireworks", "accounts/fireworks/models/qwen3-coder-30b-a3b-instruct")
    assert unpriced is not None
    assert unpriced.price is None


def test_the_table_compiles_to_the_librarys_own_prices() -> None:
    """Asked directly, the library says the same for every model of two providers, to the nano-dollar."""
    day = build.datetime.fromisoformat(models.price_version().rpartition(", ")[2] + "T12:00:00+00:00")
    prices = build.Prices(day)
    for provider in ("openai", "anthropic"):
        for name in models.names(provider):
            numbers, _ = prices.find(providers[provider].prices, name)
            facts = models.lookup(provider, name)
            assert facts is not None
            assert facts.price == (None if numbers is None else TokenPrice(*numbers[:4])), name


def test_the_shipped_file_is_small_and_carries_its_licences() -> None:
    """Under 300 kB, MIT twice."""
    data = resources.files("fw_gateway.catalog").joinpath("data")
    assert len(data.joinpath("models.json").read_bytes()) < 300_000
    licences = data.joinpath("LICENSES.txt").read_text()
    assert "Berri AI" in licences
    assert "Pydantic Services" in licences


def test_the_builder_keeps_what_it_is_given() -> None:
    """Routing prefixes go, models of other providers and other kinds are left out."""
    table = {
        "groq/openai/gpt-oss-20b": {
            "litellm_provider": "groq",
            "mode": "chat",
            "max_input_tokens": 100,
            "supports_response_schema": True,
        },
        "dall-e": {"litellm_provider": "openai", "mode": "image_generation"},
        "x/y": {"litellm_provider": "nobody", "mode": "chat"},
    }
    [(row, name, entry)] = build.entries(table)
    assert (row, name) == ("groq", "openai/gpt-oss-20b")
    assert entry[1] == 100
    assert entry[0] == build.bits({"mode": "chat", "supports_response_schema": True})


def test_the_local_model_is_pinned_by_hash_and_size() -> None:
    """Apache-2.0, 98,362,432 bytes."""
    row = local_models["smollm2"]
    assert (row.size, row.licence, len(row.sha256)) == (98_362_432, "Apache-2.0", 64)
    assert row.hub.startswith("https://")
