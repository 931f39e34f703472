"""What the gateway takes from the process environment. Nothing else here reads it."""

import os
from collections.abc import Mapping
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8400"


def environment() -> Mapping[str, str]:
    """The process environment, as it is now."""
    return dict(os.environ)


def process_environment(**changes: str) -> dict[str, str]:
    """The environment for a child process: ours, with `changes`."""
    return {**os.environ, **changes}


def gateway_url(env: Mapping[str, str] | None = None) -> str:
    """Where clients on this machine find the gateway: `FW_URL`, else the default listener."""
    return ((os.environ if env is None else env).get("FW_URL") or DEFAULT_URL).rstrip("/").removesuffix("/v1")


def model_dir(env: Mapping[str, str] | None = None) -> Path:
    """Where pulled models live: `FW_MODEL_DIR`, else `fw/models` under the user's cache directory."""
    source = os.environ if env is None else env
    if source.get("FW_MODEL_DIR"):
        return Path(source["FW_MODEL_DIR"])
    cache = source.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "fw" / "models"
