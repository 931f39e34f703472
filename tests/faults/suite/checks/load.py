"""Overhead, overload, the flow of tokens and the price of failing: rows 1 to 5 and 10, in a form that takes seconds."""

import asyncio

from tests.faults import raw
from tests.faults.suite import process
from tests.faults.suite.bench import Bench, added, ms, percentile, settling, together
from tests.faults.suite.check import Finding, Group, absent, check, judged
from tests.faults.suite.load import constant, flat_out, probing

CORES = "client, gateway and upstream share this machine's cores"


@check(1, "overhead", timed=True, stage="L", limit=60)
async def overhead(bench: Bench) -> Finding:
    """Whole answers at 60 % of the highest rate, against the upstream alone at the same rate."""
    direct = bench.control.ports["ports"][0]

    def make() -> bytes:
        return bench.request("ok", "solo", "warm", stream=False)

    await flat_out(bench.port, make, 8, 1.0)
    peak = await flat_out(bench.port, make, 16, 2.5)
    rate = 0.6 * peak.rate
    rounds, alone, lost = [], [], 0
    for _ in range(3):
        bare = await constant(direct, make, rate, 1.5)
        through = await constant(bench.port, make, rate, 1.5)
        lost += through.failed + len(through.refused)
        alone.append(percentile(bare.good, 0.99))
        rounds.append([percentile(through.good, share) - percentile(bare.good, share) for share in (0.5, 0.99)])
    p50, p99 = (min(found[place] for found in rounds) for place in (0, 1))
    measured = f"at {rate:.0f}/s of {peak.rate:.0f}/s, best of 3: p50 {added(p50)}, p99 {added(p99)}, upstream alone p99 {ms(min(alone))}"
    if min(alone) > 0.010:
        return absent(
            "this machine is too busy to tell: the upstream alone takes longer than what is allowed", measured
        )
    return judged(p50 <= 0.002 and p99 <= 0.010 and not lost, measured, f"{lost} lost; {CORES}", log=rounds)


@check(1, "cpu", timed=True, stage="L")
async def processor_time(bench: Bench) -> Finding:
    """Processor time of the gateway for a whole answer and for a stream of sixty words, everything on."""
    found = {}
    for stream in (False, True):
        await together((bench.ask("burst", stream=stream) for _ in range(40)), 4)
        before = process.cpu(bench.pid)
        replies = await together((bench.ask("burst", stream=stream) for _ in range(300)), 4)
        found[stream] = (process.cpu(bench.pid) - before) / len(replies)
    measured = f"{ms(found[False])} for an answer, {ms(found[True])} for a stream, new connections included"
    return judged(found[False] <= 0.002 and found[True] <= 0.004, measured, "more than 2 ms (4 ms for a stream)")


@check(2, "overload", timed=True, stage="L", groups={"solo": Group((0,), own=True)}, limit=60)
async def overload(bench: Bench) -> Finding:
    """Thrice what the upstream can do (8 at once, the others wait there): that much is still done, the rest is told quickly."""
    mode = "slots:8,0.2"
    livez: list[float] = []
    question = raw.request(str(bench.adapter.given["alive"]), b"", method="GET")

    def make() -> bytes:
        return bench.request(mode, "solo", "load", stream=False)

    peak = await flat_out(bench.port, make, 8, 2.5)
    probe = asyncio.create_task(probing(bench.port, question, 0.1, livez))
    over = await constant(bench.port, make, 3 * peak.rate, 5.0)
    after = await constant(bench.port, make, 0.8 * peak.rate, 3.0)
    probe.cancel()
    await probe
    share = over.rate / peak.rate if peak.rate else 0.0
    late, alive = percentile(over.refused, 0.99), percentile(livez, 0.95)
    advised = over.advised / len(over.refused) if over.refused else 0.0
    wrong = [f"goodput {share:.0%}"] if share < 0.9 else []
    wrong += [f"rejects p99 {ms(late)}"] if over.refused and late > 0.05 else []
    wrong += [f"Retry-After on {advised:.0%}"] if over.refused and advised < 1 else []
    wrong += [f"livez p95 {ms(alive)}"] if alive > 0.1 else []
    wrong += [f"{over.failed} other failures"] if over.failed else []
    wrong += [f"afterwards {after.rate / (0.8 * peak.rate):.0%}"] if after.rate < 0.9 * 0.8 * peak.rate else []
    measured = (
        f"goodput {share:.0%} of {peak.rate:.0f}/s, {len(over.refused)} rejects p99 {ms(late)}, livez p95 {ms(alive)}"
    )
    slowest = [ms(seconds) for seconds in sorted(over.refused)[-12:]]
    return judged(not wrong, measured, ", ".join(wrong), log=[{"slowest rejects": slowest}])


@check(3, "neighbour", stage="L")
async def neighbour(bench: Bench) -> Finding:
    """A tenant at ten times its share does not slow another one."""
    if len(bench.adapter.keys) < 2:
        return absent("not offered: one key for everybody, so there are no two tenants")

    async def times(key: int) -> list[float]:
        return [(await bench.ask("slow:1", key=key)).seconds for _ in range(60)]

    alone = percentile(await times(1), 0.99)
    noise = [asyncio.create_task(bench.ask("slow:1", key=0)) for _ in range(600)]
    beside = percentile(await times(1), 0.99)
    await asyncio.gather(*noise)
    return judged(beside <= 1.5 * alone, f"p99 {ms(alone)} alone, {ms(beside)} beside a noisy one", "slowed down")


@check(4, "flow", timed=True, stage="L", groups={"solo": Group((0,), stall=60)}, limit=60)
async def flow(bench: Bench) -> Finding:
    """Tokens arrive as they are sent: what the gateway adds to each event, and how many it holds back."""
    streams, gap = (500, 0.2) if bench.full else (100, 0.1)
    direct = bench.control.ports["ports"][0]
    bare, _ = await _flow(bench, streams, gap, direct)
    late, held = await _flow(bench, streams, gap, 0)
    extra = percentile(late, 0.99) - percentile(bare, 0.99)
    measured = (
        f"{streams} streams: p99 {added(extra)} over direct ({ms(percentile(late, 0.99))}), at most {held} events held"
    )
    return judged(extra <= 0.005 and held <= 1, measured, CORES, log=[percentile(late, 0.5), percentile(bare, 0.5)])


async def _flow(bench: Bench, streams: int, gap: float, port: int) -> tuple[list[float], int]:
    """Seconds between an event's leaving the upstream and its coming, for all events; and the most that were held back."""

    async def one(number: int) -> list[float]:
        await asyncio.sleep(number * gap / streams)
        reply = await bench.ask(f"slowtok:{gap},words", stream=True, wait=40, port=port)
        (attempt,) = await bench.seen(reply.nonce)
        start = len(reply.data) - len(reply.raw_body)
        came = [at for at, size in reply.pieces for _ in range(reply_events(reply, at, start))]
        return [got - sent for got, sent in zip(came, attempt["events"][: len(came)], strict=False)]

    rows = await asyncio.gather(*(one(number) for number in range(streams)))
    delays = [max(0.0, delay) for row in rows for delay in row[1:-2]]  # role and end are no content
    return delays, int(percentile(delays, 0.999) / gap)


def reply_events(reply: object, at: float, start: int) -> int:
    """How many events of a stream were complete with the read at `at`."""
    pieces, data = reply.pieces, reply.data  # type: ignore[attr-defined]
    place = 0
    for when, size in pieces:
        piece = data[place : place + size]
        if when == at:
            return piece[max(0, start - place) :].count(b"\n\n")
        place += size
    return 0


@check(
    5, "idle", stage="M", groups={"a": Group((0,), ttft=30, stall=120), "b": Group((1,), ttft=30, stall=120)}, limit=90
)
async def idle_streams(bench: Bench) -> Finding:
    """Two thousand open streams that say nothing: how many can be opened, and what each costs."""
    count = 2000
    await bench.ask("ok", "a", stream=True)
    before = bench.rss()
    work = []
    for number in range(count):
        work.append(asyncio.create_task(bench.ask("stall:60,i=2", "ab"[number % 2], stream=True, wait=80)))
        await asyncio.sleep(0.004)
    opened = await settling(bench, "stall:60,i=2", count, 20)
    each = (bench.rss() - before) / max(1, opened)
    failed = [task.result().status for task in work if task.done() and not task.cancelled()]
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    measured = f"{opened} of {count} opened, {each / 1024:.0f} KiB each"
    why = f"{len(failed)} were refused with {sorted(set(failed))}" if failed else "too large, or never opened"
    return judged(opened == count and each <= 100 * 1024, measured, why)


FAULTED = (
    ("500", False),
    ("reset", False),
    ("bad_json", False),
    ("cut_clean:31", True),
    ("err_json:31", True),
    ("429", False),
)


@check(10, "budget", timed=True, stage="L", limit=60)
async def failure_budget(bench: Bench) -> Finding:
    """Requests that fail cost little more than those that do not: processor, memory, log."""

    async def cost(modes: list[tuple[str, bool]]) -> tuple[float, int, float]:
        log, cpu, rss = bench.gateway.log.stat().st_size, process.cpu(bench.pid), bench.rss()
        await together((bench.ask(mode, stream=stream, wait=10) for mode, stream in modes), 4)
        await asyncio.sleep(0.3)
        spent = (process.cpu(bench.pid) - cpu) / len(modes)
        return spent, bench.rss() - rss, (bench.gateway.log.stat().st_size - log) / len(modes)

    times = 60
    good = [("ok", stream) for _, stream in FAULTED] * times
    await cost(good)
    well = await cost(good)
    ill = await cost(list(FAULTED) * times)
    ratio = ill[0] / well[0]
    grown = 1 + max(0, ill[1]) / bench.rss()
    measured = f"processor {ratio:.2f}×, memory {grown:.2f}×, {ill[2]:.0f} bytes of log a request"
    wrong = [f"processor {ms(well[0])} -> {ms(ill[0])}"] if ratio > 1.5 else []
    wrong += [f"memory +{ill[1] / 2**20:.0f} MiB"] if grown > 1.2 else []
    wrong += [f"{ill[2]:.0f} bytes of log"] if ill[2] > 1024 else []
    return judged(not wrong, measured, ", ".join(wrong), log=[well, ill])
