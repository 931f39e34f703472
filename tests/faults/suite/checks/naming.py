"""Names of upstreams: row 24, before a name server that answers by script."""

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.faults.suite.adapter import Gateway
from tests.faults.suite.bench import Bench
from tests.faults.suite.check import SOLO, Finding, absent, check, judged
from tests.faults.suite.names import Names, asking, may_ask, passing, serving
from tests.faults.upstream.answers import TEXT

NAME = "replica.suite.test"
OLD, NEW, SIX = "127.0.53.11", "127.0.53.12", "::1"
HONOURED = 30.0
"""Seconds within which a change is to be honoured."""


@check(24, "dns", groups={"named": SOLO}, limit=600, beside=True)
async def dns(bench: Bench) -> Finding:
    """A record that changes is honoured within 30 s under load, a name that vanishes is remembered, IPv6 alone serves."""
    if not await asyncio.to_thread(may_ask):
        return absent("needs a mount namespace for resolv.conf, which only root may make")
    ports = bench.control.ports["ports"]
    places = dict(zip((OLD, NEW, SIX), ports, strict=False))
    try:
        async with serving(NAME) as names, passing(places) as port:
            with tempfile.TemporaryDirectory(prefix="faults-names-") as folder:
                config = bench.adapter.named(bench.check, "named", f"http://{NAME}:{port}", bench.control.ports)
                gateway = Gateway(bench.adapter, Path(folder), config, within=asking)
                names.addresses = [OLD]
                await gateway.start()
                try:
                    return await _looked_up(replace(bench, gateway=gateway), names)
                finally:
                    await asyncio.to_thread(gateway.stop)
    except OSError as fault:
        return absent(f"needs port 53 and addresses of its own on this machine: {fault}")


async def _looked_up(bench: Bench, names: Names) -> Finding:
    wrong: list[str] = []
    first = await _until(bench, 0, 5.0, wrong)
    names.addresses = [NEW]
    changed = await _until(bench, 1, HONOURED + 6, wrong)
    names.addresses, asked = None, names.asked
    held = 290.0 if bench.full else 35.0
    await _until(bench, -1, held, wrong)
    missed = names.asked - asked
    names.addresses = [SIX]
    six = await _until(bench, 2, HONOURED + 6, wrong)
    wrong += [] if first is not None else ["the name was never looked up"]
    wrong += [] if changed is not None and changed <= HONOURED else [f"the change: after {changed} s"]
    wrong += [] if missed else ["it did not ask while there was no such name: nothing is proven"]
    wrong += [] if six is not None and six <= HONOURED else [f"IPv6 alone: after {six} s"]
    measured = (
        f"a change after {changed or 0:.1f} s; no such name for {held:.0f} s (5 min in the full profile), "
        f"looked for {missed} times; IPv6 alone after {six or 0:.1f} s"
    )
    return judged(not wrong, measured, "; ".join(wrong[:4]))


async def _until(bench: Bench, replica: int, seconds: float, wrong: list[str]) -> float | None:
    """Seconds until a replica serves (-1: none is waited for), with a request every half second that must be answered; None: it never did."""
    began = time.monotonic()
    while (spent := time.monotonic() - began) < seconds:
        reply = await bench.ask("ok", "named")
        if reply.text != TEXT:
            wrong.append(f"after {spent:.1f} s: {reply.status} {reply.error}")
        if any(one["port"] == replica for one in bench.control.log(nonce=reply.nonce, light=1)):
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    return None
