"""Large bodies, compressed bombs and slow clients: rows 7 to 9."""

import asyncio
import gzip
import json
import time
from dataclasses import dataclass, field

from tests.faults import raw
from tests.faults.suite.bench import Bench, added, ms, percentile
from tests.faults.suite.check import SOLO, Finding, Group, check, judged
from tests.faults.suite.client import PATHS, talk
from tests.faults.suite.slow import crowd

MIB = 2**20


async def _small(bench: Bench, times: list[float]) -> None:
    """Small requests that need no upstream, so that only the gateway can delay them."""
    while True:
        reply = await bench.get("/v1/models")
        times.append(reply.seconds if reply.status == 200 else 60.0)
        await asyncio.sleep(0.005)


@check(7, "accepted", timed=True, stage="M", groups={"solo": SOLO})
async def big_bodies(bench: Bench) -> Finding:
    """Three bodies of 20 MB at once, within the limit: all answered, in 2.5 times their size, and small requests go on."""
    made = [bench.request("ok", "solo", bench.nonce(), stream=False, text="A" * (20 * 10**6)) for _ in range(3)]
    before: list[float] = []
    task = asyncio.create_task(_small(bench, before))
    await asyncio.sleep(1.0)
    task.cancel()
    times: list[float] = []
    task = asyncio.create_task(_small(bench, times))
    async with bench.peak() as peak:
        replies = await asyncio.gather(*(talk(bench.port, data, wait=30) for data in made))
    task.cancel()
    grown = peak.look() / sum(map(len, made))
    slower = percentile(times, 0.99) - percentile(before, 0.99)
    good = sum(reply.succeeded for reply in replies)
    measured = f"{good} of 3 answered, memory {grown:.2f}× the bodies, small requests p99 {added(slower)}"
    why = f"statuses {[reply.status for reply in replies]}, memory or delay too large"
    return judged(good == 3 and grown <= 2.5 and slower <= 0.05, measured, why)


@check(7, "refused", stage="M")
async def too_big(bench: Bench) -> Finding:
    """A body of 100 MB is refused with 413 before it is read."""
    head = raw.request(PATHS["chat"], b"", *bench.lines()).replace(b"content-length: 0", b"content-length: 100000000")
    async with bench.peak() as peak:
        reply = await talk(bench.port, head + b"{" * 1000, wait=3.0)
        chunked = raw.request(PATHS["chat"], b"", "transfer-encoding: chunked", *bench.lines()).replace(
            b"content-length: 0\r\n", b""
        )
        piece = b"100000\r\n" + b" " * MIB + b"\r\n"
        streamed = await talk(bench.port, chunked + piece * 40, wait=10.0)
    statuses = reply.status, streamed.status
    measured = f"announced: {statuses[0]} after {ms(reply.seconds)}; unannounced: {statuses[1]}; memory +{peak.look() / MIB:.0f} MiB"
    return judged(statuses == (413, 413) and peak.look() < 100 * MIB, measured, "not refused, or read first")


@check(8, "request", stage="M")
async def request_bomb(bench: Bench) -> Finding:
    """A compressed request is refused with 415, in little memory."""
    wrong = []
    async with bench.peak() as peak:
        for name in ("gzip", "deflate", "br", "zstd"):
            body = gzip.compress(json.dumps({"model": "x", "messages": [], "pad": "a" * (64 * MIB)}).encode())
            reply = await talk(
                bench.port, raw.request(PATHS["chat"], body, f"content-encoding: {name}", *bench.lines())
            )
            if reply.status != 415:
                wrong.append(f"{name}: {reply.status}")
    grown = peak.look() / MIB
    return judged(
        not wrong and grown <= 32, f"{4 - len(wrong)} of 4 refused, memory +{grown:.0f} MiB", "; ".join(wrong)
    )


@check(8, "response", stage="M", groups={"solo": SOLO, "event": SOLO})
async def response_bomb(bench: Bench) -> Finding:
    """A compressed bomb from the upstream, and an event without an end, stay within bounds."""
    async with bench.peak() as peak:
        bombs = [await bench.ask("gzip_bomb:512", stream=stream) for stream in (False, True)]
        big = await bench.ask("bigevent:40", "event", stream=True, wait=30)
    grown = peak.look() / MIB
    measured = f"memory +{grown:.0f} MiB; 512 MiB of gzip: {[reply.status for reply in bombs]}, an event of 40 MiB: {big.error or big.status}"
    return judged(grown <= 64 and not big.succeeded, measured, "memory, or the event came through")


@dataclass(slots=True)
class Slow:
    """Sockets of one kind: how long the gateway bore them."""

    kind: str
    limit: float
    """Seconds within which they must be closed."""
    count: int = 0
    closed: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """How each ended: `eof`, `answer`, or the exception."""


async def _slow(bench: Bench, kind: Slow, patience: float, *, after: float = 0.0) -> None:
    """One such socket, until it is closed or patience is over. They come one `after` the other: a burst is another matter."""
    await asyncio.sleep(after)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=2**12)
    nonce = bench.nonce()
    # More than all buffers on the way can hold (Linux: up to 32 MiB to receive and 4 to send, twice): else the upstream may be done.
    body = raw.chat(bench.model("flood:128"), stream=True, text=nonce)
    whole = raw.request(PATHS["chat"], body, *bench.lines())
    head = whole[: -len(body)]
    first = {"headers": head[:60], "body": head + body[:10], "reader": whole, "silent": b""}[kind.kind]
    began = time.monotonic()
    writer.write(first)
    drip = iter(head[60:-4])
    end = "patience"
    try:
        while end == "patience" and time.monotonic() - began < patience:
            if kind.kind == "headers":
                writer.write(bytes([next(drip, 97)]))
            end = await (_unread(bench, nonce) if kind.kind == "reader" else _second(reader))
    except OSError as fault:
        end = type(fault).__name__
    finally:
        writer.transport.abort()
    kind.ends.append(end)
    if end != "patience":
        kind.closed.append(time.monotonic() - began)


async def _second(reader: asyncio.StreamReader) -> str:
    """A second of waiting for the end."""
    try:
        async with asyncio.timeout(1.0):
            return "answer" if await reader.read(1024) else "eof"
    except TimeoutError:
        return "patience"


async def _unread(bench: Bench, nonce: str) -> str:
    """A second without reading. A full window hides the end from the client, so the upstream is asked whether it was let go."""
    await asyncio.sleep(1.0)
    found = bench.control.log(nonce=nonce, light=1)
    return "let go" if found and found[0]["t_peer_closed"] else "patience"


@check(9, "closed", groups={"solo": Group((2,), ttft=30)}, limit=120, beside=True)
async def slow_clients(bench: Bench) -> Finding:
    """A thousand slow sockets of four kinds are closed in time."""
    kinds = [Slow("headers", 10), Slow("silent", 10), Slow("body", 30), Slow("reader", 60)]
    each = {"headers": 400, "silent": 300, "body": 285, "reader": 15}
    work = []
    for kind in kinds:
        kind.count = each[kind.kind]
        work += [asyncio.create_task(_slow(bench, kind, kind.limit + 6, after=n * 0.03)) for n in range(kind.count)]
    await asyncio.gather(*work)
    said = [
        f"{kind.kind}: {len(kind.closed)} of {kind.count}, the last after {max(kind.closed, default=0):.1f} s ({kind.limit:g} s)"
        for kind in kinds
    ]
    bad = [kind.kind for kind in kinds if len(kind.closed) < kind.count or max(kind.closed) > 1.1 * kind.limit + 2]
    return judged(
        not bad, "; ".join(said), f"not closed: {', '.join(bad)}", log=[{kind.kind: kind.ends for kind in kinds}]
    )


@check(9, "others", timed=True, stage="L", groups={"solo": SOLO, "fast": Group((1,))}, limit=120)
async def others(bench: Bench) -> Finding:
    """A thousand slow sockets do not slow down the others: eight rounds with them and eight without, by turns, for p99 of one round is chance."""

    async def asked() -> list[float]:
        return [(await bench.ask("ok", "fast")).seconds for _ in range(600)]

    await asked()
    alone: list[float] = []
    beside: list[float] = []
    fewest = 1000
    for _ in range(8):
        alone += await asked()
        async with crowd(bench.port, 1000) as slow:
            beside += await asked()
        fewest = min(fewest, slow.left)
    before, during = percentile(alone, 0.99), percentile(beside, 0.99)
    return judged(
        during <= 1.1 * before and fewest >= 990,
        f"p99 {ms(before)} alone, {ms(during)} beside {fewest} slow sockets",
        "slower, or the sockets were not there",
    )
