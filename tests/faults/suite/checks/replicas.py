"""Replicas that die, slow down, or all fail: rows 13 to 15 and 23 to 26."""

import asyncio
import time

from tests.faults.suite.bench import Bench, added, ms, percentile, settling, together
from tests.faults.suite.check import TRIO, Finding, Group, check, judged
from tests.faults.suite.client import Reply
from tests.faults.upstream.answers import TEXT

BACK = 36.0
"""Seconds within which a healed replica must serve again, and one."""


async def _dead(bench: Bench, group: str, mode: str) -> tuple[str, str]:
    """Requests with replica 0 dead, then until it serves again: what was measured, what was wrong."""
    wasted = errors = asked = 0
    began = time.monotonic()
    while asked < 60 and time.monotonic() - began < 8:  # less than a rest: what comes after it is a probe, and no waste
        reply = await bench.ask(f"{mode}@0", group)
        asked += 1
        errors += reply.text != TEXT
        wasted += sum(one["port"] == 0 for one in bench.control.log(nonce=reply.nonce, light=1))
    healed, back = time.monotonic(), 0.0
    while not back and time.monotonic() - healed < BACK:
        reply = await bench.ask("ok", group)
        errors += reply.text != TEXT
        if any(one["port"] == 0 for one in bench.control.log(nonce=reply.nonce, light=1)):
            back = time.monotonic() - healed
        await asyncio.sleep(0.25)
    measured = f"{mode}: {errors} errors, {wasted} wasted in {asked} requests, back after {back:.1f} s"
    wrong = [] if back else ["not back within 36 s"]
    wrong += [] if wasted else ["it was never tried: nothing is proven"]
    wrong += [f"{errors} client errors"] if errors else []
    wrong += [f"{wasted} wasted attempts"] if wasted > 10 else []
    return measured, ", ".join(wrong)


@check(13, "dead", groups={"500": TRIO, "reset": TRIO}, limit=90, beside=True)
async def dead_replica(bench: Bench) -> Finding:
    """One of three answers 500 or RST: no client sees it, it is soon left alone, and comes back when it is well."""
    found = await asyncio.gather(_dead(bench, "500", "500"), _dead(bench, "reset", "reset"))
    wrong = [why for _, why in found if why]
    return judged(not wrong, "; ".join(measured for measured, _ in found), "; ".join(wrong))


@check(14, "gray", timed=True, stage="L", groups={"healthy": TRIO, "gray": TRIO}, limit=60)
async def gray_replica(bench: Bench) -> Finding:
    """One of three is ten times slower: ten seconds later the 99th percentile is at most twice the healthy one (best of three)."""

    async def load(mode: str, group: str, seconds: float) -> list[Reply]:
        began, work = time.monotonic(), []
        while time.monotonic() - began < seconds:
            work.append(asyncio.create_task(bench.ask(mode, group, stream=True)))
            await asyncio.sleep(0.1)
        return list(await asyncio.gather(*work))

    async def best(mode: str, group: str) -> tuple[float, list[Reply]]:
        rounds = [await load(mode, group, 1.5) for _ in range(3)]
        return min(percentile([reply.seconds for reply in found], 0.99) for found in rounds), rounds[-1]

    healthy, _ = await best("slow:1", "healthy")
    await load("slow:10@0", "gray", 10.0)
    gray, last = await best("slow:10@0", "gray")
    there = sum(bench.control.log(nonce=reply.nonce, light=1)[-1]["port"] == 0 for reply in last)
    measured = f"p99 {ms(gray)}, healthy {ms(healthy)}; {there} of {len(last)} still went to the slow one"
    return judged(gray <= 2 * healthy, measured, "the slow replica still gets the traffic")


@check(15, "panic", groups={"trio": TRIO}, limit=40)
async def all_fail(bench: Bench) -> Finding:
    """When all replicas fail, requests are still tried, without a storm, and the first good answer gets through."""
    await together((bench.ask("500", "trio") for _ in range(30)), 4)
    tries, untried, seconds = [0, 0, 0], 0, 3.0
    began = time.monotonic()
    count = 30
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
        reply = await bench.ask("500", "trio")
        rows = bench.control.log(nonce=reply.nonce, light=1)
        untried += not rows
        for row in rows:
            tries[row["port"]] += 1
    healed = await bench.ask("ok", "trio")
    busiest = max(tries) / seconds
    share = sum(tries) / count
    wrong = (
        [f"{busiest:.1f} attempts a second at one endpoint"]
        if busiest > 1.5 and share > 1.2 + 3 * seconds / count
        else []
    )
    wrong += [] if healed.text == TEXT else [f"the first request after healing: {healed.status} {healed.error}"]
    measured = (
        f"{share:.2f} attempts for a request, {busiest:.1f}/s at the busiest endpoint, {untried} of {count} not tried"
    )
    return judged(not wrong, measured, "; ".join(wrong))


@check(
    23,
    "bulkhead",
    timed=True,
    stage="L",
    groups={"stuck": Group((0,), ttft=30, stall=60), "other": Group((1,)), "same": Group((0,))},
    limit=60,
)
async def bulkhead(bench: Bench) -> Finding:
    """500 streams that are stuck on one upstream do not slow another one down (the best of three rounds each)."""

    async def times() -> float:
        rounds = []
        for _ in range(3):
            replies = [await bench.ask("ok", "other") for _ in range(100)]
            rounds.append(percentile([one.seconds if one.text == TEXT else 60.0 for one in replies], 0.99))
        return min(rounds)

    await times()
    before = await times()
    stuck = []
    for _ in range(500):
        stuck.append(asyncio.create_task(bench.ask("stall:60,i=2", "stuck", stream=True, wait=60)))
        await asyncio.sleep(0.004)
    opened = await settling(bench, "stall:60", 500)
    after = await times()
    same = await bench.ask("ok", "same", wait=5)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    measured = f"p99 {ms(before)} before, {ms(after)} with {opened} stuck; the stuck upstream itself: {same.status}"
    return judged(
        after - before <= 0.010 and opened == 500, measured, f"p99 {added(after - before)}, {opened} of 500 opened"
    )


@check(25, "redirects", groups=dict.fromkeys(("301", "302", "307", "308"), TRIO))
async def redirects(bench: Bench) -> Finding:
    """A redirect is never followed: the thief's port sees no byte."""
    before = len(bench.control.state()["thief"])
    wrong = []
    for code in ("301", "302", "307", "308"):
        for stream in (False, True):
            reply = await bench.ask(code, code, stream=stream)
            if reply.status < 400:
                wrong.append(f"{code}: the client got {reply.status}")
    stolen = bench.control.state()["thief"][before:]
    return judged(not wrong and not stolen, f"{len(stolen)} contacts of the thief", "; ".join(wrong))


async def _served(bench: Bench) -> set[int]:
    """The replicas that thirty requests, six at a time, go to."""
    replies = await together((bench.ask("slow:0.5", "pair") for _ in range(30)), 6)
    return {one["port"] for reply in replies for one in bench.control.log(nonce=reply.nonce, light=1)}


async def _undisturbed(bench: Bench, before: set[int], what: str) -> Finding:
    """Whether the same replicas serve as before."""
    after = await _served(bench)
    measured = f"{what}; served by {sorted(before)}, then by {sorted(after)}"
    return judged(before <= after, measured, f"put aside for it: {sorted(before - after)}")


@check(26, "refused", groups={"pair": Group((0, 1))})
async def own_refusals(bench: Bench) -> Finding:
    """Requests that the gateway itself refuses never trip a breaker."""
    before = await _served(bench)
    broken = ("no list", [], [1], None)
    statuses = {(await bench.ask("ok", "pair", messages=messages)).status for messages in broken for _ in range(5)}
    return await _undisturbed(bench, before, f"20 refusals ({', '.join(map(str, sorted(statuses)))})")


@check(26, "leavers", groups={"pair": Group((0, 1))})
async def own_leavers(bench: Bench) -> Finding:
    """Clients that leave, before and after the first content, never trip a breaker."""
    before = await _served(bench)
    for mode in ("slowtok:0.05", "silent"):
        for _ in range(10):
            async with bench.under_way(mode, "pair", stream=True) as (reply, _line):
                await bench.seen(reply.nonce, over=False)
    return await _undisturbed(bench, before, "20 clients that left")


@check(26, "deadlines", groups={"pair": Group((0, 1))})
async def own_deadlines(bench: Bench) -> Finding:
    """Deadlines that callers set too short never trip a breaker: one caller must not put a replica aside for all."""
    before = await _served(bench)
    timed = [f"{bench.adapter.given['timeout_header']}: 0.05"]
    await together((bench.ask("ttft:5", "pair", headers=timed) for _ in range(16)), 8)
    return await _undisturbed(bench, before, "16 deadlines of 50 ms")
