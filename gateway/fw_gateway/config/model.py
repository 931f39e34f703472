"""What the operator decided, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fw_gateway.catalog.rows import ProviderRow
from fw_policies.lock import Lock
from fw_policies.model import Target
from fw_policies.spec import Policy


class Secret:
    """A text that never prints itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep `text` away from repr, str, format and logs."""
        self._text = text

    def reveal(self) -> str:
        """The text, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


MOST = 512
"""Calls at once that any deployment is given: one that hangs takes no other's place."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a target is reached, and with what key."""

    target: Target
    row: ProviderRow
    url: str
    """Base url, no trailing slash; empty for the embedded model (filled when its process is up) and for bridged providers."""
    key: Secret | None = None
    ttft_limit: float = 10.0
    """Seconds to the first event."""
    stall_limit: float = 60.0
    """Seconds between events."""
    answer_limit: float | None = None
    """Seconds within which an answer that is not streamed must have come; None: as long as its caller waits."""
    embedded: str = ""
    """Name of a local model (`smollm2`) whose llama.cpp process this gateway owns; empty: somebody else runs it."""
    traceparent: bool = False
    """Whether trace context is sent upstream (default: self-hosted only)."""
    forward_name: bool = False
    """The config's model name is a pattern: the caller's own name goes upstream."""
    speaks: tuple[str, ...] = ("openai_chat", "openai_embeddings")
    """Protocols that it understands; what it does not is translated to the first."""
    max_concurrency: int | None = None
    """Calls that it is given at once, at most; self-hosted, fewer when it begins to answer late. None: MOST, and nothing is found out."""
    priority: bool = False
    """Its engine schedules by priority (vLLM's `--scheduling-policy priority`), so a policy's `priority` is passed on; others refuse the field."""
    capacity: float | None = None
    """Output tokens per second that it writes at most, all callers together; None: nobody said."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the process itself behaves."""

    host: str = "127.0.0.1"
    port: int = 8400
    api_key: Secret | None = None
    max_body: int = 32 * 1024 * 1024
    max_timeout: float = 600.0
    """Seconds that any one request may take, whatever it asks for."""
    drain: float = 30.0
    """Seconds that requests in flight get after SIGTERM."""
    max_in_flight: int = 1000
    max_connections: int = 8192
    max_connections_per_address: int = 4096
    """Of one IPv4 address, or of one IPv6 network (/64)."""
    max_bodies: int = 512 * 1024 * 1024
    """Bytes of all bodies that are under way together."""
    max_lag: float = 0.2
    """Seconds that the event loop may be late, again and again, before new work is refused."""
    workers: int = 1
    """Processes that serve together, from one state directory."""
    idempotency: str = "memory"
    """Where answers are kept that may be asked for again: `memory`, or `disk`, which outlives the process."""
    stand_in: str | None = None
    """Model that serves, marked `degraded`, when a policy's baseline cannot run at all."""
    state_dir: str = ".fw"


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """Where telemetry goes. The OTEL_* variables are read by the OpenTelemetry SDK itself."""

    traces_file: str | None = None
    service_name: str = "fw-gateway"
    environment: str = ""
    capture_content: bool = False
    text_features: bool = False
    """Whether the ledger keeps, of calls that are drawn at random, the embedding of what the user said last."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator decided, checked."""

    server: ServerConfig
    endpoints: tuple[Endpoint, ...]
    """All deployments, in the config's order, with or without a credential."""
    policies: Mapping[str, Policy]
    agents: Mapping[str, str]
    """Agent name -> policy name."""
    telemetry: TelemetryConfig
    digest: str
    """Short hash of the whole config, for `fw.config.hash`."""
    prices: str = ""
    """Version of the price table."""
    warnings: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)
    """Deployment id -> why it cannot serve: `no_credential` (its key is not in the environment), `no_bridge` (litellm is not here)."""
    locks: Mapping[str, Lock] = field(default_factory=dict)
    """Policy -> what was compiled for it, where it fits the policy as it is."""
    assumptions: tuple[str, ...] = ()
    """What nobody said and the gateway had to assume, for people to see."""
    source: str = ""
    """Path of the file it was read from; empty: the built-in default."""
