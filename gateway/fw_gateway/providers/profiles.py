"""Quirks of providers that speak a dialect of ours, as data: one row per profile of the catalog, the default for all others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Profile:
    """How one provider's dialect differs from the plain one."""

    ask_usage: bool = True
    """A stream reports usage only when `stream_options.include_usage` asks; False: it does so unasked, and refuses the field."""
    running_usage: bool = False
    """Asked to (`continuous_usage_stats`), it says with every event what has been used so far: what is cut off is charged exactly."""
    beyond: frozenset[str] = frozenset()
    """What its servers understand of chat beyond OpenAI's own (names of `dialects.chat.BEYOND`)."""
    checks_thoughts: bool = False
    """It refuses a request whose thoughts it did not sign."""


DEFAULT = Profile()
_ENGINE = Profile(beyond=frozenset({"top_k", "reasoning_content"}))
PROFILES: Mapping[str, Profile] = {
    "anthropic": Profile(checks_thoughts=True),
    "vllm": replace(_ENGINE, running_usage=True),
    "sglang": _ENGINE,
    "llamacpp": Profile(beyond=frozenset({"top_k"})),
    "openrouter": Profile(beyond=frozenset({"cache_control", "top_k"})),
    "deepseek": Profile(beyond=frozenset({"reasoning_content"})),
    "mistral": Profile(ask_usage=False),
    "perplexity": Profile(ask_usage=False),
}


def profile(name: str) -> Profile:
    """The quirks of a profile of the catalog."""
    return PROFILES.get(name, DEFAULT)
