"""What a check has at hand: a gateway, the upstream's truth, and a client."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from string import Template
from typing import Any, TypeVar

from tests.faults import raw
from tests.faults.suite import process
from tests.faults.suite.adapter import Adapter, Gateway
from tests.faults.suite.check import Check
from tests.faults.suite.client import PATHS, Line, Reply, talk
from tests.faults.upstream.launch import Control

T = TypeVar("T")


@dataclass(slots=True)
class Bench:
    """One run of the suite, seen by one check."""

    gateway: Gateway
    control: Control
    adapter: Adapter
    check: Check
    seed: int
    full: bool
    """The long profile: the figures of the specification instead of the short form."""
    run: int = 0
    """The first run of the check, or the second."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What checks of one run know in common."""
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def port(self) -> int:
        """Of the gateway."""
        return self.gateway.port

    @property
    def pid(self) -> int:
        """Of the gateway."""
        return self.gateway.pid

    def rng(self) -> random.Random:
        """A generator that belongs to this check and this seed."""
        return random.Random(f"{self.seed}|{self.check.id}")

    def nonce(self) -> str:
        """A new one, the same in every run of a seed."""
        number = next(self._numbers)
        seed = f"{self.seed}|{self.check.id}|{self.run}|{number}"
        return f"nonce-{random.Random(seed).getrandbits(64):016x}"

    def model(self, mode: str, group: str = "solo") -> str:
        """The model name by which a group plays a mode."""
        return f"{self.check.prefix(group, self.run)}fx-{mode}"

    def lines(self, headers: Iterable[str] = (), key: int = 0) -> list[str]:
        """Header lines of a request."""
        return [f"authorization: Bearer {self.adapter.keys[key]}", *headers]

    def body(self, model: str, nonce: str, *, stream: bool, protocol: str, fields: dict[str, Any]) -> bytes:
        """The body of a request."""
        text = fields.pop("text", "Say the words.") + " " + nonce
        found: dict[str, Any] = {"model": model, **({"stream": True} if stream else {}), **fields}
        if protocol == "responses":
            found["input"] = text
        elif protocol == "completions":
            found["prompt"] = text
        elif protocol == "embeddings":
            found["input"] = text
        else:
            found.setdefault("messages", [{"role": "user", "content": text}])
        if protocol == "messages":
            found["max_tokens"] = 200
        return json.dumps(found).encode()

    def request(
        self, mode: str, group: str, nonce: str, *, stream: bool, protocol: str = "chat", headers: Iterable[str] = (),
        key: int = 0, **fields: Any,
    ) -> bytes:  # fmt: skip
        """The bytes of a request."""
        body = self.body(self.model(mode, group), nonce, stream=stream, protocol=protocol, fields=fields)
        extra = ["anthropic-version: 2023-06-01"] if protocol == "messages" else []
        return raw.request(PATHS[protocol], body, *extra, *self.lines(headers, key))

    async def ask(
        self, mode: str, group: str = "solo", *, stream: bool = False, protocol: str = "chat", wait: float = 20.0,
        nonce: str = "", port: int = 0, headers: Iterable[str] = (), **fields: Any,
    ) -> Reply:  # fmt: skip
        """One request through the gateway (or straight to `port`); its answer as it came."""
        nonce = nonce or self.nonce()
        data = self.request(mode, group, nonce, stream=stream, protocol=protocol, headers=headers, **fields)
        return await talk(port or self.port, data, wait=wait, nonce=nonce, protocol=protocol, stream=stream)

    async def ask_after(self, first: str, group: str, **more: Any) -> Reply:
        """A request whose first attempt plays `first`, wherever it goes, and whose others are answered well."""
        nonce = self.nonce()
        self.control.script(nonce=nonce, modes=[first, "ok"])
        return await self.ask("ok", group, nonce=nonce, **more)

    @asynccontextmanager
    async def under_way(self, mode: str, group: str = "solo", *, stream: bool = True, stop: bytes = b"", **more: Any):
        """A request that is under way while the block runs, and is left when it ends: its reply and its line."""
        nonce = self.nonce()
        line, reply = Line(self.port), Reply(began=time.monotonic(), nonce=nonce, stream=stream)
        await line.open()
        line.send(self.request(mode, group, nonce, stream=stream, **more))
        try:
            if stop:
                await line.read(reply, wait=10.0, stop=stop)
            yield reply, line
        finally:
            line.close()

    async def get(self, path: str, *, wait: float = 10.0) -> Reply:
        """GET with the key."""
        return await talk(self.port, raw.request(path, b"", *self.lines(), method="GET"), wait=wait)

    async def seen(self, nonce: str, seconds: float = 3.0, *, over: bool = True) -> list[dict[str, Any]]:
        """The upstream's attempts with a nonce, when there are some and (unless not `over`) all are over."""
        end = time.monotonic() + seconds
        while True:
            found = self.control.log(nonce=nonce)
            if (found and (not over or all(one["over"] for one in found))) or time.monotonic() > end:
                return found
            await asyncio.sleep(0.02)

    async def ledger(self, reply: Reply, seconds: float = 3.0) -> dict[str, Any] | None:
        """The gateway's own row about a call; None when it has none, or no ledger at all."""
        about = self.adapter.given.get("ledger")
        name = reply.headers.get(about["header"]) if about else None
        if not name:
            return None
        end = time.monotonic() + seconds
        while True:
            found = (await self.get(Template(about["path"]).substitute(id=name))).json
            for part in about["root"]:
                found = found.get(part) if isinstance(found, dict) else None
            if isinstance(found, dict) or time.monotonic() > end:
                return found if isinstance(found, dict) else None
            await asyncio.sleep(0.05)

    async def offered(self, protocol: str) -> str:
        """Why a protocol cannot be judged; empty when the gateway serves it."""
        key = f"offered {protocol}"
        if key not in self.shared:
            body = self.body("fx-ok", self.nonce(), stream=False, protocol=protocol, fields={})
            reply = await talk(self.port, raw.request(PATHS[protocol], body, *self.lines()), wait=5)
            self.shared[key] = f"not offered: {reply.status}" if reply.status in {404, 405, 501} else ""
        return str(self.shared[key])

    def rss(self) -> int:
        """Resident bytes of the gateway."""
        return process.rss(self.pid)

    @asynccontextmanager
    async def peak(self, every: float = 0.01):
        """Watches the gateway's memory while the block runs."""
        found = process.Peak(self.pid)

        async def watch() -> None:
            while True:
                found.look()
                await asyncio.sleep(every)

        task = asyncio.get_running_loop().create_task(watch())
        try:
            yield found
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            found.look()


async def together(work: Iterable[Awaitable[T]], at_once: int = 16) -> list[T]:
    """All of it, so many at a time; results in order."""
    gate = asyncio.Semaphore(at_once)

    async def one(part: Awaitable[T]) -> T:
        async with gate:
            return await part

    return list(await asyncio.gather(*(one(part) for part in work)))


async def settling(bench: Bench, mode: str, count: int, seconds: float = 10.0) -> int:
    """Wait until so many attempts of a mode are under way at the upstream, or until their number stays; how many there are."""
    end, before = time.monotonic() + seconds, -1
    while True:
        found = sum(not one["over"] for one in bench.control.log(mode=mode, light=1))
        if found >= count or time.monotonic() > end:
            return found
        await asyncio.sleep(0.3 if found != before else 1.0)
        before = found


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank; NaN of nothing."""
    found = sorted(values)
    return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


def ms(seconds: float) -> str:
    """Milliseconds, for people."""
    return f"{seconds * 1000:.1f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def added(seconds: float) -> str:
    """A difference of milliseconds, with its sign."""
    return f"{seconds * 1000:+.1f} ms"
