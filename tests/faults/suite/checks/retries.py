"""What is tried again, when, how often, and what never is: rows 11, 12, 16 to 19."""

import asyncio
import time

from tests.faults.suite.bench import Bench, ms, together
from tests.faults.suite.check import (
    FAIL,
    HUNG,
    PASS,
    RETRIED,
    SOLO,
    TRIO,
    Finding,
    Group,
    absent,
    check,
    judged,
)  # fmt: skip
from tests.faults.upstream.answers import TEXT

SIXTEEN = (
    ("refuse", "ok", False), ("connect", "reset", False), ("close", "close", True), ("silent", "silent", True),
    ("headers", "stall:20,i=0", True), ("500", "500", False), ("502", "html_502", True), ("503", "503", False),
    ("529", "529", True), ("429", "429:s=60", False), ("empty", "empty_200", False), ("badjson", "bad_json", False),
    ("error200", "error_in_200_json", False), ("cut", "cut_clean:1", True), ("short", "short_content_length", False),
    ("errat", "err_at:1", True),
)  # fmt: skip
"""Name, mode, stream: sixteen ways to fail before the first content."""


@check(
    11,
    "failover",
    timed=True,
    groups={name: Group(("refuse", 1)) if name == "refuse" else TRIO for name, _, _ in SIXTEEN},
)
async def failover(bench: Bench) -> Finding:
    """Sixteen failures before content, each made good by another replica (ours; Failover Bench itself is not part of this suite)."""
    asked = [
        bench.ask("ok", name, wait=10) if name == "refuse" else bench.ask_after(mode, name, stream=stream, wait=10)
        for name, mode, stream in SIXTEEN
    ]
    wrong = []
    for (name, mode, _), reply in zip(SIXTEEN, await together(asked), strict=True):
        if not reply.succeeded or reply.text != TEXT:
            wrong.append(f"{name} ({mode}): {reply.status} {reply.error}")
    return judged(not wrong, f"{16 - len(wrong)} of 16 of our own", "; ".join(wrong), log=wrong)


@check(11, "bench")
async def failover_bench(bench: Bench) -> Finding:
    """Failover Bench, unmodified."""
    return absent("Failover Bench is not on this machine; it has to be fetched and run unmodified")


@check(12, "stream", timed=True, groups={"silent": TRIO, "head": TRIO, "role": TRIO})
async def silent_stream(bench: Bench) -> Finding:
    """Streams: a silent upstream is left at the limit for the first content, and is not tried again."""
    limit, grace = bench.adapter.seconds("ttft", 10), bench.adapter.seconds("grace", 1)
    modes = {"silent": "silent", "head": "stall:20,i=0", "role": "stall:20,i=1"}
    replies = await together(bench.ask_after(mode, group, stream=True, wait=15) for group, mode in modes.items())
    wrong = []
    for group, reply in zip(modes, replies, strict=True):
        tries = [one["port"] for one in await bench.seen(reply.nonce)]
        if reply.text != TEXT or abs(reply.seconds - limit) > grace or len(set(tries)) != len(tries):
            wrong.append(f"{group}: {reply.status} after {ms(reply.seconds)}, replicas tried {tries}")
    slowest = max(reply.seconds for reply in replies)
    never = [f"{HUNG}: {wrong}"] if any(reply.overdue for reply in replies) else []
    return judged(not wrong, f"at most {ms(slowest)} (limit {limit:g} s)", "; ".join(wrong), never=never)


@check(12, "whole", timed=True, groups={"silent": Group((0, 1, 2), whole=True)})
async def silent_whole(bench: Bench) -> Finding:
    """Without streaming: a silent upstream is left at the limit that was set for whole answers, before the caller's deadline."""
    limit, grace = bench.adapter.seconds("ttft", 10), bench.adapter.seconds("grace", 1)
    header = f"{bench.adapter.given['timeout_header']}: {3 * limit}"
    reply = await bench.ask_after("silent", "silent", wait=4 * limit, headers=[header])
    tries = [one["port"] for one in await bench.seen(reply.nonce)]
    ok = reply.text == TEXT and abs(reply.seconds - limit) <= grace and len(set(tries)) == len(tries)
    why = f"status {reply.status} after {ms(reply.seconds)}, replicas tried {tries}: {reply.error}"
    never = [f"{HUNG}: silent, without streaming"] if reply.overdue else []
    return judged(ok, f"{reply.status} after {ms(reply.seconds)} (limit {limit:g} s)", why, safe=not never, never=never)


@check(16, "budget", groups={"trio": TRIO}, limit=40)
async def retry_budget(bench: Bench) -> Finding:
    """When everything fails, attempts stay within the budget: 1.2 for a request, and three a second."""
    rate, seconds = 50, 5.0
    began = time.monotonic()
    work = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        work.append(asyncio.create_task(bench.ask("500", "trio", wait=10)))
    replies = await asyncio.gather(*work)
    nonces = {reply.nonce for reply in replies}
    tries = sum(one["nonce"] in nonces for one in bench.control.log(mode="500", light=1))
    share = tries / len(replies)
    allowed = 1.2 + (3 * seconds + 10) / len(replies)  # ten may have been saved up
    wrong = sum(reply.status < 500 for reply in replies)
    return judged(
        share <= allowed and not wrong, f"{share:.2f} attempts for a request (allowed {allowed:.2f})", "no retry budget"
    )


WAITS = (("seconds", "429:s=1", 1.0), ("date", "429:date=2", 2.0), ("milliseconds", "429:ms=700", 0.7))


@check(17, "obeyed", timed=True, groups={name: SOLO for name, _, _ in WAITS})
async def retry_after(bench: Bench) -> Finding:
    """Retry-After in seconds, as a date and in milliseconds: waited for, and at most a quarter longer."""
    wrong, waits = [], []
    for name, mode, told in WAITS:
        nonce = bench.nonce()
        bench.control.script(nonce=nonce, modes=[mode, "ok"])
        reply = await bench.ask("ok", name, nonce=nonce)
        tries = await bench.seen(nonce)
        wait = tries[1]["t_headers"] - tries[0]["t_last_byte"] if len(tries) > 1 else float("nan")
        low = told - 1.0 if name == "date" else told  # a date has whole seconds
        waits.append(f"{name} {told:g} s: {wait:.2f} s")
        if not low <= wait <= told * 1.25 + 0.1 or reply.text != TEXT:
            wrong.append(f"{name}: told {told:g} s, waited {wait:.2f} s, {len(tries)} attempts, {reply.status}")
    return judged(not wrong, ", ".join(waits), "; ".join(wrong))


@check(17, "over_cap", groups={"trio": TRIO, "solo": SOLO, "neg": SOLO, "huge": SOLO, "junk": SOLO})
async def retry_after_over_cap(bench: Bench) -> Finding:
    """Told to wait too long, it fails over at once, or relays the header; nonsense is not obeyed."""
    wrong = []
    reply = await bench.ask_after("429:s=60", "trio")
    if reply.text != TEXT or reply.seconds > 2:
        wrong.append(f"no failover: {reply.status} after {ms(reply.seconds)}")
    alone = await bench.ask("429:s=60", "solo")
    if alone.status != 429 or alone.headers.get("retry-after") != "60":
        wrong.append(f"alone: {alone.status}, Retry-After {alone.headers.get('retry-after')}")
    for kind in ("neg", "huge", "junk"):
        found = await bench.ask(f"429:{kind}", kind, wait=15)
        if found.status != 429 or found.seconds > 5:
            wrong.append(f"{kind}: {found.status} after {ms(found.seconds)}")
    return judged(not wrong, f"{5 - len(wrong)} of 5 right", "; ".join(wrong))


FINAL = ("400", "401", "403", "404", "413", "422", "content_filter", "context_length")


@check(18, "once", groups={name.replace("_", ""): TRIO for name in FINAL})
async def not_retryable(bench: Bench) -> Finding:
    """A request that is itself at fault is tried once, and the client gets the upstream's words."""
    wrong = []
    for mode in FINAL:
        reply = await bench.ask(mode, mode.replace("_", ""))
        tries = len(await bench.seen(reply.nonce))
        if tries != 1:
            wrong.append(f"{mode}: {tries} attempts")
        elif reply.status < 400 or reply.error is None:
            wrong.append(f"{mode}: {reply.status}")
    return judged(not wrong, f"{len(FINAL) - len(wrong)} of {len(FINAL)} once", "; ".join(wrong))


@check(18, "ejected", groups={"402": TRIO, "quota": TRIO})
async def key_ejected(bench: Bench) -> Finding:
    """A key without money or quota is put aside: later requests do not try it."""
    wrong = []
    for mode in ("402", "quota"):
        first = await bench.ask_after(mode, mode)
        bad = (await bench.seen(first.nonce))[0]["port"]
        again = 0
        for reply in await together((bench.ask("ok", mode) for _ in range(12)), 4):
            again += sum(one["port"] == bad for one in await bench.seen(reply.nonce))
        if first.text != TEXT or again:
            wrong.append(f"{mode}: first {first.status}, then {again} of 12 went to the bad key")
    return judged(not wrong, f"{2 - len(wrong)} of 2 put aside", "; ".join(wrong))


@check(19, "committed", groups={"trio": TRIO}, limit=120)
async def no_second_delivery(bench: Bench) -> Finding:
    """After the first content nothing is sent again: one attempt, and a prefix of its text."""
    indexes = range(2, 62) if bench.full else range(2, 62, 2)
    modes = [f"{kind}:{index}" for kind in ("cut_rst", "cut_clean", "err_json") for index in indexes]
    modes += [f"stall:20,i={index}" for index in (2, 30, 61)]
    replies = await together((bench.ask(mode, "trio", stream=True, wait=10) for mode in modes), 16)
    again, wrong = [], []
    for mode, reply in zip(modes, replies, strict=True):
        tries = len(await bench.seen(reply.nonce))
        if tries != 1:
            again.append(f"{mode}: {tries} attempts")
        if not TEXT.startswith(reply.text) or not reply.text:
            wrong.append(f"{mode}: {reply.text[:40]!r}")
    never = [f"{RETRIED}: {one}" for one in again]
    verdict = FAIL if again or wrong else PASS
    return Finding(verdict, f"{len(again)} of {len(modes)} sent again", "; ".join([*again, *wrong][:4]), never)
