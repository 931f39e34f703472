"""Where the gateway is and with which key: arguments first, then the environment. The only module that reads it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from fwsdk.errors import NetworkForbidden

DEFAULT_URL = "http://127.0.0.1:8400"
DEFAULT_TIMEOUT = 600.0
DEFAULT_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know. The key is never shown."""

    url: str = DEFAULT_URL
    """Without a trailing slash and without `/v1`."""
    api_key: str = field(default="", repr=False)
    timeout: float = DEFAULT_TIMEOUT
    """Seconds a whole call may take, retries and streaming included."""
    max_retries: int = DEFAULT_RETRIES

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the gateway's url must begin with http:// or https://, not {self.url!r}; see FW_URL")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout!r}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must not be negative, not {self.max_retries!r}")


def settings(
    url: str | None = None,
    api_key: str | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    max_retries: int = DEFAULT_RETRIES,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Arguments where given, else FW_URL and FW_API_KEY, else the defaults.

    Raises:
        ValueError: the url is no http(s) url, or a number is out of range.
    """
    environ = os.environ if environ is None else environ
    found = (url or environ.get("FW_URL") or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    key = api_key if api_key is not None else environ.get("FW_API_KEY", "")
    return Settings(found, key, timeout, max_retries)


def wants_spans(environ: Mapping[str, str] | None = None) -> bool:
    """Whether somebody asked for traces, so that looking for a tracer provider is worth its time."""
    environ = os.environ if environ is None else environ
    return bool(environ.get("FW_TRACES_FILE")) or any(name.startswith("OTEL_") for name in environ)


@dataclass(slots=True)
class _Switch:
    held: int = 0


_network = _Switch()


@contextmanager
def forbid_network() -> Iterator[None]:
    """While this is open, a client that was given no fake transport raises instead of making a call."""
    _network.held += 1
    try:
        yield
    finally:
        _network.held -= 1


def require_network() -> None:
    """Called before anything real is sent.

    Raises:
        NetworkForbidden: `forbid_network` is open, or FW_FORBID_NETWORK is set.
    """
    if _network.held or os.environ.get("FW_FORBID_NETWORK", "") not in ("", "0"):
        raise NetworkForbidden(
            "this process may make no real call.",
            hint="Give the client a `fwsdk.testing.FakeTransport`, or lift forbid_network() / FW_FORBID_NETWORK.",
        )
