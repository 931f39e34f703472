"""No leaks: row 6, as a short look in every run and as a long command of its own."""

import asyncio
import time

from tests.faults.suite import process
from tests.faults.suite.bench import Bench, together
from tests.faults.suite.check import TRIO, Finding, absent, check, judged

MIX = (
    ("ok", True), ("ok", False), ("cut_rst:9", True), ("err_json:5", True), ("500@0", False), ("reset@0", True), ("echo", True),
    ("tools_100", True), ("utf8", True), ("429:s=60@0", False), ("badjson:9", True), ("huge:1", False), ("404", False),
)  # fmt: skip
"""Faults of all kinds that take no time."""


async def mixed(bench: Bench, seconds: float, *, at_once: int = 8) -> int:
    """Mixed faults for a while, some of the clients leaving; how many requests there were."""
    rng, count = bench.rng(), 0
    end = time.monotonic() + seconds

    async def one() -> None:
        mode, stream = rng.choice(MIX)
        if rng.random() < 0.1:
            async with bench.under_way("slowtok:0.01", "trio", stop=b"word03"):
                return
        await bench.ask(mode, "trio", stream=stream, wait=10)

    while time.monotonic() < end:
        await together((one() for _ in range(4 * at_once)), at_once)
        count += 4 * at_once
        bench.control.reset()
    return count


async def settled(bench: Bench, goal: int | None = None) -> tuple[int, int]:
    """Descriptors and resident bytes at rest: once there are no more than `goal`, or once their number has stayed; 20 seconds at most.

    A pool may keep idle connections for several seconds, and close them all at once.
    """
    since, before = time.monotonic(), -1
    for _ in range(40):
        await asyncio.sleep(0.5)
        found = process.descriptors(bench.pid)
        if found != before:
            since, before = time.monotonic(), found
        if (before <= goal) if goal is not None else (time.monotonic() - since > 8.0):
            break
    return before, bench.rss()


@check(6, "short", stage="L", groups={"trio": TRIO}, limit=80)
async def short(bench: Bench) -> Finding:
    """After a burst of mixed faults, descriptors and connections are back where they were."""
    await mixed(bench, 2.0)
    before, _ = await settled(bench)
    count = await mixed(bench, 8.0)
    after, _ = await settled(bench, before + 2)
    measured = f"{count} requests: descriptors {before} -> {after}"
    return judged(after <= before + 2, measured, "not back to where it was")


@check(6, "soak", stage="L", groups={"trio": TRIO}, limit=180)
async def soak(bench: Bench) -> Finding:
    """Thirty minutes of mixed faults: memory grows by at most 1 % in 10 minutes.

    The line is laid through what was seen under the load alone: at rest, before and after it, memory is another. Each point is the mean of half a
    minute: what is freed and not given back yet, for seconds, is no growth.
    """
    minutes = float(bench.shared.get("minutes", 0))
    if not minutes:
        return absent("takes half an hour: `python -m tests.faults.suite soak --minutes 30`")
    await mixed(bench, 60.0)
    fds, base = await settled(bench)
    samples: list[tuple[float, float]] = []
    count = 0
    began = time.monotonic()
    while time.monotonic() - began < minutes * 60:
        seen: list[int] = []
        look = asyncio.create_task(_look(bench, seen))
        count += await mixed(bench, 30.0)
        look.cancel()
        samples.append((time.monotonic() - began, sum(seen) / len(seen)))
        print(f"{samples[-1][0] / 60:5.1f} min  {count:7} requests  {samples[-1][1] / 2**20:.2f} MiB", flush=True)
    after, last = await settled(bench, fds + 2)
    slope = slope_of(samples) * 600 / base
    memory = f"memory {slope:+.1%} in 10 min ({base >> 20} -> {last >> 20} MiB)"
    measured = f"{count} requests in {minutes:g} min: {memory}, descriptors {fds} -> {after}"
    return judged(
        slope <= 0.01 and after <= fds + 2 and len(samples) > 2, measured, "it grows, or was too short", log=samples
    )


async def _look(bench: Bench, seen: list[int]) -> None:
    """Resident bytes, once a second."""
    while True:
        seen.append(bench.rss())
        await asyncio.sleep(1.0)


def slope_of(samples: list[tuple[float, float]]) -> float:
    """Bytes a second, by least squares."""
    n = len(samples)
    mean_t, mean_m = sum(t for t, _ in samples) / n, sum(m for _, m in samples) / n
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    return sum((t - mean_t) * (m - mean_m) for t, m in samples) / spread if spread else 0.0
