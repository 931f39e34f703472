"""The shape of a provider row and of what the catalog knows about one model."""

from dataclasses import dataclass

from fw_policies.model import TokenPrice


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider: where it is, how it is spoken to, where its key comes from. Variety lives here, not in code."""

    name: str
    """As written in a config: `openai`, `vllm`, ..."""
    title: str
    base_url: str
    """Ends before `/chat/completions`; empty when the config must give a url (vllm, llamacpp, openai_compatible)."""
    key_env: str = ""
    """Environment variable that holds the key; empty: needs none."""
    speaks: tuple[str, ...] = ("openai_chat", "openai_embeddings")
    """Protocols, the one that everything else is translated to first."""
    key_header: str = "Authorization"
    """Where the key goes: as a bearer token, or alone in a header of its own."""
    otel_name: str = ""
    """`gen_ai.provider.name`, the registered value where there is one."""
    prices: str = ""
    """Provider id in genai-prices; empty: not priced by tokens."""
    self_hosted: bool = False
    bridge: bool = False
    """Served through the litellm bridge instead of a dialect of ours."""
    profile: str = "default"
    """Name of the quirks table in providers.profiles."""
    ttft_limit: float = 10.0
    """Seconds without a first event after which an attempt counts as failed."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the catalog knows of one provider's model."""

    provider: str
    model: str
    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    max_output: int | None = None
    deprecated_on: str | None = None
    price: TokenPrice | None = None
