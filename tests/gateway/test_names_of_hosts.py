"""Addresses of upstreams: a change is noticed, a failing name server is not, and no other host is ever resolved."""

import asyncio
import socket
import time

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from fw_gateway import upstream
from fw_gateway.upstream import Guard, Refused, connector_to


class Names(AbstractResolver):
    """A name server that says what it is told to say."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: list[str] = [*addresses]
        self.asked = 0
        self.broken: OSError | None = None
        self.slow = False

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        if self.slow:
            await asyncio.Event().wait()
        if self.broken is not None:
            raise self.broken
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


async def hosts(guard: Guard) -> list[str]:
    """What the upstream's name stands for now."""
    return [found["host"] for found in await guard.resolve("gpu.test", 80)]


async def test_the_last_good_address_holds_while_names_cannot_be_looked_up() -> None:
    """For five minutes, and no longer than a second is waited; then the failure shows. What is found again counts at once."""
    names = Names("10.0.0.1")
    guard = Guard("gpu.test", names)
    assert await hosts(guard) == ["10.0.0.1"]
    names.broken = socket.gaierror(-2, "Name or service not known")
    assert await hosts(guard) == ["10.0.0.1"]
    names.slow = True
    start = time.monotonic()
    assert await hosts(guard) == ["10.0.0.1"]
    assert time.monotonic() - start < upstream.LOOKUP + 0.5
    names.slow = False
    [(key, (at, good))] = guard._good.items()
    guard._good[key] = (at - upstream.LAST_GOOD - 1, good)
    with pytest.raises(socket.gaierror):
        await hosts(guard)
    names.broken, names.addresses = None, ["10.0.0.2", "fd00::2"]
    assert await hosts(guard) == ["10.0.0.2", "fd00::2"]


async def test_no_other_host_is_resolved() -> None:
    """The guard of one upstream knows no other, whoever asks."""
    names = Names("10.0.0.1")
    with pytest.raises(Refused):
        await Guard("gpu.test", names).resolve("metadata.internal", 80)
    assert names.asked == 0


async def listening(address: str, port: int = 0) -> tuple[web.AppRunner, int]:
    """A server that says where it listens."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=address)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner, int(runner.addresses[0][1])


async def said(session: aiohttp.ClientSession, port: int) -> str:
    """Which server answered."""
    async with session.get(f"http://gpu.test:{port}/") as found:
        return await found.text()


async def test_a_record_that_changes_is_honoured_though_connections_are_kept_busy() -> None:
    """Requests without a pause on one connection: within twice the time that an address is used for, they go to the new one."""
    first, port = await listening("127.0.0.1")
    second, _ = await listening("127.0.0.2", port)
    names = Names("127.0.0.1")
    connector = connector_to("gpu.test", Guard("gpu.test", names), renew=1.0)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(20):
                assert await said(session, port) == "127.0.0.1"
            assert names.asked == 1
            names.addresses = ["127.0.0.2"]
            changed = time.monotonic()
            while await said(session, port) != "127.0.0.2":
                assert time.monotonic() - changed < 2.5
            assert await said(session, port) == "127.0.0.2"
    finally:
        await first.cleanup()
        await second.cleanup()


async def test_of_two_families_the_one_that_answers_is_used() -> None:
    """Nobody listens at the IPv6 address: the IPv4 one serves, without a wait that anyone would notice."""
    runner, port = await listening("127.0.0.1")
    connector = connector_to("gpu.test", Guard("gpu.test", Names("::1", "127.0.0.1")))
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            start = time.monotonic()
            assert await said(session, port) == "127.0.0.1"
            assert time.monotonic() - start < 1.0
    finally:
        await runner.cleanup()


def test_a_change_is_honoured_within_half_a_minute() -> None:
    """What is measured above in small, for the times that are used: a lookup's age and a connection's."""
    assert 2 * upstream.RENEW <= 30
