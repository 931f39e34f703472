"""A gateway in this process behind a real socket, and the scripted upstream it talks to."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fw_gateway.app import PATIENCE, Gateway
from fw_gateway.catalog.providers import providers
from fw_gateway.config import Config, Endpoint, Secret, ServerConfig, TelemetryConfig
from fw_gateway.middleware.connections import Patience
from fw_gateway.middleware.limits import Limits
from fw_gateway.values import Record
from fw_policies import spec
from fw_policies.model import MachinePrice, Target
from tests.gateway.upstream import Upstream, listening

CAN = frozenset({"chat", "tools", "json_schema", "json_mode", "vision", "embeddings", "stream"})


def endpoint(model: str, place: str, url: str, upstream_model: str = "", **more: Any) -> Endpoint:
    """A self-hosted deployment of `model`."""
    target = Target(
        model,
        f"{model}@{place}",
        "vllm",
        upstream_model or model,
        MachinePrice(3_600_000_000),
        capabilities=CAN,
        self_hosted=True,
    )
    return Endpoint(target, providers["vllm"], url, **{"ttft_limit": 5.0, "traceparent": True, **more})


def config_of(
    folder: Path, *endpoints: Endpoint, policies: dict[str, dict[str, Any]] | None = None, **server: Any
) -> Config:
    """A config as the loader would make it."""
    found = {name: spec.parse({"policy": name, **text}) for name, text in (policies or {}).items()}
    settings = ServerConfig(state_dir=str(folder / "state"), **server)
    return Config(settings, endpoints, found, {}, TelemetryConfig(traces_file=str(folder / "traces.jsonl")), "digest")


class Client:
    """A client of one gateway, over a socket."""

    def __init__(self, gateway: Gateway, url: str, session: aiohttp.ClientSession, records: list[Record]) -> None:
        self.gateway, self.url, self.session, self.records = gateway, url, session, records
        self.door: Any = None
        """What makes the gateway's connections."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to write bytes to."""
        return await asyncio.open_connection("127.0.0.1", int(self.url.rsplit(":", 1)[1]))

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One exchange."""
        sent = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        async with self.session.post(self.url + path, data=body, headers=sent) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """One exchange."""
        async with self.session.get(self.url + path) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def chat(
        self, model: str, *, fields: dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """A chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **(fields or {})}
        return await self.post("/v1/chat/completions", json.dumps(body).encode(), **headers)

    async def stream(
        self, model: str, *, fields: dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, list[str]]:
        """A stream: its status, and the data of its events."""
        status, _, body = await self.chat(model, fields={"stream": True, **(fields or {})}, **headers)
        return status, data_of(body)

    async def recorded(self, count: int = 1) -> Record:
        """The newest record, once there are `count`."""
        await until(lambda: len(self.records) >= count)
        return self.records[-1]


def data_of(body: bytes) -> list[str]:
    """`data:` of each event."""
    blocks = body.decode().replace("\r\n", "\n").split("\n\n")
    return [block.removeprefix("data: ") for block in blocks if block.startswith("data:")]


def text_of(events: list[str]) -> str:
    """All content of a stream."""
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", []))


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)
    return found


@contextlib.asynccontextmanager
async def running(
    config: Config, key: Secret | None = None, *, limits: Limits | None = None, patience: Patience = PATIENCE
) -> AsyncIterator[Client]:
    """A gateway behind a free port; what it records is kept."""
    gateway = Gateway(config, limits)
    records: list[Record] = []
    put = gateway.recorder.put

    def kept(record: Record) -> None:
        records.append(record)
        put(record)

    gateway.recorder.put = kept  # type: ignore[method-assign]
    await gateway.start()
    runner = gateway.runner(key, patience)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.listening = True
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            found = Client(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}", session, records)
            found.door = runner.server
            yield found
    finally:
        await runner.cleanup()
        await gateway.stop()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A scripted upstream."""
    async with listening() as found:
        yield found


@pytest.fixture
async def client(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Client]:
    """One model `one`, a pair `pair` (bad first), and whatever `fx-…` the upstream knows."""
    endpoints = (
        endpoint("one", "here", upstream.url),
        endpoint("pair", "bad", upstream.url, "bad"),
        endpoint("pair", "good", upstream.url, "good"),
        endpoint("fx-*", "any", upstream.url, forward_name=True),
    )
    async with running(config_of(tmp_path, *endpoints)) as found:
        yield found
