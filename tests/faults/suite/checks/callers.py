"""What callers may rely on: one delivery for a key, deadlines, and that leaving stops the spending: rows 20 to 22 and 32."""

import asyncio
import time

from openai import APIStatusError, AsyncOpenAI

from tests.faults.suite.bench import Bench, ms, percentile, settling, together
from tests.faults.suite.check import (
    FAIL,
    HUNG,
    SOLO,
    TRIO,
    Finding,
    Group,
    check,
    judged,
)  # fmt: skip


@check(20, "twice", groups={"solo": SOLO, "crash": SOLO})
async def idempotency(bench: Bench) -> Finding:
    """The same Idempotency-Key: one upstream attempt and identical bytes; another body is refused."""
    nonce, header = bench.nonce(), f"idempotency-key: {bench.nonce()}"
    first = await bench.ask("ok", nonce=nonce, headers=[header])
    second = await bench.ask("ok", nonce=nonce, headers=[header])
    other = await bench.ask("ok", nonce=bench.nonce(), headers=[header])
    tries = len(await bench.seen(nonce))
    wrong = [] if tries == 1 else [f"{tries} upstream attempts"]
    wrong += [] if first.body == second.body else ["the bytes differ"]
    wrong += [] if other.status == 422 else [f"another body: {other.status}"]
    return judged(not wrong, f"{tries} attempts for 2 requests; another body: {other.status}", "; ".join(wrong))


@check(20, "twins")
async def idempotent_twins(bench: Bench) -> Finding:
    """Twins at the same time: one upstream attempt; the others wait for it, or get 409."""
    nonce, header = bench.nonce(), f"idempotency-key: {bench.nonce()}"
    replies = await together((bench.ask("slowtok:0.005", nonce=nonce, headers=[header]) for _ in range(50)), 50)
    tries = len(await bench.seen(nonce))
    odd = {reply.status for reply in replies} - {200, 409}
    return judged(
        tries == 1 and not odd, f"{tries} upstream attempts for 50 twins", f"{tries} attempts, statuses {odd or 'fine'}"
    )


@check(21, "sdk", groups={"raw": TRIO, "sdk": TRIO})
async def amplification(bench: Bench) -> Finding:
    """The openai SDK with its two retries makes no more upstream attempts than one bare request, and is told not to."""
    bare = await bench.ask("500", "raw")
    alone = len(await bench.seen(bare.nonce))
    nonce = bench.nonce()
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{bench.port}/v1", api_key=bench.adapter.keys[0], max_retries=2)
    async with client:
        try:
            await client.chat.completions.create(
                model=bench.model("500", "sdk"), messages=[{"role": "user", "content": nonce}]
            )
        except APIStatusError as fault:
            told = fault.response.headers.get("x-should-retry")
        else:
            return Finding(FAIL, "no error", "the SDK got an answer from an upstream that always fails")
    tries = len(await bench.seen(nonce))
    measured = f"{tries} attempts through the SDK, {alone} without; x-should-retry: {told}"
    return judged(tries <= alone and told == "false", measured, "the SDK's retries multiply ours")


@check(22, "deadline", timed=True, groups={"a": SOLO, "b": TRIO})
async def deadlines(bench: Bench) -> Finding:
    """A request ends at its deadline, and the upstream is let go at most 250 ms later."""
    header = f"{bench.adapter.given['timeout_header']}: 0.8"
    asked = [
        bench.ask(mode, group, stream=stream, headers=[header], wait=10)
        for group in ("a", "b")
        for mode, stream in (("silent", False), ("hang", False), ("silent", True), ("slowtok:0.1", True))
    ]
    replies = await together(asked, 8)
    wrong, late, lets = [], [], []
    for reply in replies:
        tries = await bench.seen(reply.nonce)
        late.append(reply.seconds - 0.8)
        lets += [(one["t_peer_closed"] or 1e9) - reply.began - 0.8 for one in tries if one["end"] != "done"]
        if reply.succeeded or (reply.status == 200 and reply.error is None):
            wrong.append(f"{reply.status} without an error")
    ok = not wrong and max(late) <= 0.25 and max(lets, default=0.0) <= 0.25
    never = [f"{HUNG}: {one.status}" for one in replies if one.overdue]
    measured = f"client at most {ms(max(late))} late, upstream let go at most {ms(max(lets, default=0.0))} late"
    return judged(ok, measured, "; ".join(wrong) or "late", never=never)


@check(22, "passed_on")
async def deadline_passed_on(bench: Bench) -> Finding:
    """What is left of the deadline is passed on to the upstream."""
    name = bench.adapter.given["timeout_header"]
    reply = await bench.ask("ok", headers=[f"{name}: 7"])
    (attempt,) = await bench.seen(reply.nonce)
    headers = dict(attempt["headers"])
    value = headers.get(name) or headers.get("x-request-timeout") or ""
    ok = bool(value) and 6 < float(value) <= 7
    return judged(ok, f"upstream was told {value or 'nothing'}", "the remaining time is not passed on")


LEAVING = {
    "in the middle": ("slowtok:0.05", True, b"word02"),
    "before the first token": ("ttft:20", True, b""),
    "without streaming": ("silent", False, b""),
    "in a body": ("hang", False, b""),
}


@check(32, "leaving", timed=True, limit=60)
async def leaving(bench: Bench) -> Finding:
    """A client that leaves stops the upstream: in the middle, before the first token, without streaming."""
    times: dict[str, list[float]] = {name: [] for name in LEAVING}

    async def leave(name: str) -> None:
        mode, stream, stop = LEAVING[name]
        async with bench.under_way(mode, stream=stream, stop=stop) as (reply, _):
            await bench.seen(reply.nonce, over=False)
        left = time.monotonic()
        (attempt,) = await bench.seen(reply.nonce, 5.0)
        times[name].append((attempt["t_peer_closed"] or 1e9) - left)

    await together((leave(name) for name in LEAVING for _ in range(25)), 6)
    slow = {name: percentile(found, 0.99) for name, found in times.items()}
    worst = max(slow.values())
    return judged(worst <= 0.2, f"p99 {ms(worst)} over {sum(map(len, times.values()))}", f"{slow}", log=[slow])


@check(32, "retrying", groups={"solo": SOLO})
async def leaving_while_retrying(bench: Bench) -> Finding:
    """A client that leaves while the gateway waits to try again: there is no second attempt."""
    nonces = []
    for _ in range(4):
        async with bench.under_way("429:s=1", stream=False) as (reply, _):
            await bench.seen(reply.nonce)
        nonces.append(reply.nonce)
    await asyncio.sleep(1.6)
    tries = [len(bench.control.log(nonce=nonce)) for nonce in nonces]
    return judged(max(tries) == 1, f"attempts {tries}", "tried again for nobody")


@check(32, "queued", stage="L", groups={"solo": Group((0,), ttft=30, stall=60, at_once=8)}, limit=60)
async def leaving_while_queued(bench: Bench) -> Finding:
    """A client that leaves while its request waits for a full upstream: nothing is ever sent for it."""
    stuck = [asyncio.create_task(bench.ask("silent", stream=True, wait=30)) for _ in range(8)]
    await settling(bench, "silent", 8)
    async with bench.under_way("ok") as (reply, _):
        await asyncio.sleep(0.3)
        at_once = len(bench.control.log(nonce=reply.nonce))
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    await asyncio.sleep(0.7)
    sent = len(bench.control.log(nonce=reply.nonce))
    measured = "it was not queued: sent at once" if at_once else f"queued, then {sent} attempts"
    return judged(bool(at_once) or not sent, measured, "sent for nobody")


@check(32, "vllm", groups={"solo": Group((1,))})
async def running_falls(bench: Bench) -> Finding:
    """vLLM's own gauge of running requests falls when the client leaves (the scripted gauge; a real vLLM is another suite's)."""
    async with bench.under_way("slowtok:0.05", stop=b"word01"):
        during = bench.control.state()["replicas"][1]["running"]
    await asyncio.sleep(0.25)
    after = bench.control.state()["replicas"][1]["running"]
    return judged(during >= 1 and after < during, f"{during} running, then {after}", "it still runs")
