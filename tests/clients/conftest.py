"""One gateway before one upstream of every protocol; the model's name says which of them the upstream is asked in."""

from collections.abc import AsyncIterator, Iterator

import anthropic
import openai
import pytest
from real_servers import Server, gateway_process

from tests.clients.upstream import Upstream, running

KEY = "a-key-that-is-long-enough-0123456789"
BACKS = {
    "chat": ["openai_chat", "openai_embeddings"],
    "responses": ["openai_responses"],
    "messages": ["anthropic_messages", "anthropic_count_tokens"],
}
CAN = ["chat", "stream", "tools", "tool_choice", "parallel_tools", "json_schema", "vision", "reasoning"]


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The upstream."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway, as a user starts it, with a key."""
    shared = {"provider": "vllm", "url": upstream.url, "machine_hour": "1 USD", "capabilities": CAN}
    models = {name: {"deployments": [{**shared, "speaks": speaks}]} for name, speaks in BACKS.items()}
    with gateway_process(tmp_path_factory.mktemp("clients"), {"models": models}, FW_API_KEY=KEY) as server:
        yield server


@pytest.fixture(params=list(BACKS))
def back(request: pytest.FixtureRequest) -> str:
    """The protocol that the upstream is asked in: a model's name."""
    return str(request.param)


@pytest.fixture
def oai(gateway: Server) -> Iterator[openai.OpenAI]:
    """The official OpenAI client; it retries nothing, so that a failure shows."""
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def aoai(gateway: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    """The same, asynchronous."""
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def ant(gateway: Server) -> Iterator[anthropic.Anthropic]:
    """The official Anthropic client: it sends its key as `x-api-key`."""
    with anthropic.Anthropic(base_url=gateway.root, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def aant(gateway: Server) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The same, asynchronous."""
    async with anthropic.AsyncAnthropic(base_url=gateway.root, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made
