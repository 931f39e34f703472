"""After a burst of mixed faults nothing of it is left: no task, no slot of a pool, no place in a queue, no connection."""

import asyncio
import contextlib
import gc
import json
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from fw_gateway.exchange import Answer
from fw_gateway.middleware.answer import Answer as Sent
from fw_gateway.values import Call
from tests.gateway.conftest import Client, until
from tests.gateway.upstream import (
    HELLO,
    ROLE,
    STOP,
    Exchange,
    Script,
    Upstream,
    breaks,
    event,
    ok,
    silent,
    stalls,
    status,
)

USAGE = event(usage={"prompt_tokens": 7, "completion_tokens": 3})


async def stuck(exchange: Exchange) -> None:
    """A head and nothing after it."""
    await exchange.head(200, "Content-Type: application/json", "Content-Length: 50")
    await exchange.gone.wait()


FAULTS: dict[str, Script] = {
    "fx-ok": ok,
    "fx-500": status(500),
    "fx-429": status(429, "Retry-After: 30"),
    "fx-404": status(404),
    "fx-silent": silent,
    "fx-stuck": stuck,
    "fx-stalls": stalls(ROLE, HELLO),
    "fx-cut": breaks("cut", ROLE, HELLO),
    "fx-reset": breaks("reset", ROLE, HELLO),
    "fx-unended": breaks("end", ROLE, HELLO, STOP, USAGE),
}


def _tasks() -> Counter[str]:
    """What is being done, by name, but for what the upstream and this test do."""
    running = Counter(str(task.get_coro().__qualname__) for task in asyncio.all_tasks())  # type: ignore[union-attr]
    return Counter({name: n for name, n in running.items() if name.split(".")[0] not in {"Upstream", "_watch"}})


async def _asked(client: Client, model: str, *, stream: bool, leaves: bool) -> None:
    """One request; whoever `leaves` does so in the middle of whatever is going on."""
    reader, writer = await client.connect()
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Request-Timeout: 0.5\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    if leaves:
        await asyncio.sleep(0.05)
        writer.transport.abort()
    else:
        await reader.read()
        writer.close()


async def test_nothing_is_left_of_a_burst_of_mixed_faults(client: Client, upstream: Upstream) -> None:
    """300 calls, 20 at once: those that fail, that time out, and those whose clients leave."""
    upstream.scripts |= FAULTS
    gateway = client.gateway
    await client.chat("fx-ok")
    before = await until(_steady(_tasks))
    kinds = islice(
        (
            (name, s, gone)
            for s, gone in cycle([(True, False), (False, False), (True, True), (False, True)])
            for name in FAULTS
        ),
        300,
    )
    calls = list(kinds)
    for first in range(0, len(calls), 20):
        async with asyncio.TaskGroup() as group:
            for name, stream, leaves in calls[first : first + 20]:
                group.create_task(_asked(client, name, stream=stream, leaves=leaves))
    assert len({(record.outcome, record.error_type) for record in client.records}) >= 5, "the faults were not mixed"
    pools = [session.connector for session in gateway._upstreams._sessions.values()]

    def held() -> dict[str, int]:
        return {
            "requests under way": gateway.limits.in_flight,
            "bytes of bodies": gateway.limits.held,
            "attempts open": sum(one.busy.count for one in gateway._worlds.deployments.values()),
            "slots of pools": sum(len(pool._acquired) for pool in pools if pool is not None),
            "clients' connections": len(client.door.open),
        }

    with contextlib.suppress(AssertionError):
        await until(lambda: not any(held().values()))
    assert held() == dict.fromkeys(held(), 0)
    await until(lambda: not _tasks() - before)
    await client.chat("fx-ok")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("name", FAULTS)
async def test_a_call_is_gone_when_it_is_over_however_it_ends(
    name: str, stream: bool, client: Client, upstream: Upstream
) -> None:
    """Nothing of it holds itself: its memory is free at once, and no collection has to find it, which may come much later.

    An exception holds the frames that it went through, and they hold the call.
    """
    upstream.scripts |= FAULTS
    await client.chat("fx-ok")
    await _asked(client, name, stream=stream, leaves=False)
    await asyncio.to_thread(client.gateway.recorder.flush)
    client.records.clear()
    gc.collect()
    kinds = {Call, Answer, Sent}
    before = {id(one) for one in gc.get_objects() if type(one) in kinds}  # of other tests
    gc.disable()
    try:
        for leaves in (False, True):
            await _asked(client, name, stream=stream, leaves=leaves)

        def held() -> Counter[str]:
            found = [one for one in gc.get_objects() if type(one) in kinds and id(one) not in before]
            return Counter(type(one).__name__ for one in found)

        async def over() -> bool:
            await asyncio.to_thread(client.gateway.recorder.flush)
            client.records.clear()
            return not held()

        with contextlib.suppress(AssertionError):
            await until(lambda: not client.door.open)
        for _ in range(20):
            if await over():
                break
            await asyncio.sleep(0.05)
        assert held() == Counter()
    finally:
        gc.enable()


def _steady(look: Callable[[], Counter[str]]) -> Callable[[], Counter[str] | None]:
    """What is seen twice in a row."""
    last: list[Counter[str]] = [Counter()]

    def seen() -> Counter[str] | None:
        last.append(look())
        return last[-1] if last[-1] == last[-2] else None

    return seen
