"""What is served when there is no file: the embedded model, and eight named closed ones that wait for a key."""

from typing import Any

STAND_IN = "smollm2"

CLOSED: tuple[tuple[str, str, str], ...] = (
    ("gpt-6.1-sol", "openai", "gpt-6.1-sol"),
    ("gpt-6-luna", "openai", "gpt-6-luna"),
    ("claude-opus-5.5", "anthropic", "claude-opus-5-5"),
    ("claude-sonnet-5.5", "anthropic", "claude-sonnet-5-5"),
    ("claude-haiku-5.5", "anthropic", "claude-haiku-5-5"),
    ("gemini-4-argon", "gemini", "gemini-4-argon"),
    ("gemini-3.8-flash", "gemini", "gemini-3.8-flash"),
    ("grok-4.7", "xai", "grok-4.7"),
)
"""(name here, provider, the provider's own name): current ones with a known price and no retirement date, a large and a small of each."""


def document() -> dict[str, Any]:
    """The built-in config, as if it had been read from a file."""
    models: dict[str, Any] = {STAND_IN: {"deployments": [{"provider": "embedded"}], "tags": ["local"]}}
    for name, provider, upstream in CLOSED:
        models[name] = {"deployments": [{"provider": provider, "model": upstream}]}
    return {"server": {"stand_in": STAND_IN}, "models": models}
