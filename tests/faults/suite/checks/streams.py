"""Integrity of streams: rows 27 to 31, 33 and 34."""

import asyncio
import time
from typing import Any

from openai import APIError, AsyncOpenAI

from tests.faults.suite import sse
from tests.faults.suite.bench import Bench, ms, together
from tests.faults.suite.check import (
    FAIL,
    HUNG,
    PASS,
    SAFE,
    SOLO,
    TRIO,
    TRUNCATED,
    WORST,
    Finding,
    Group,
    absent,
    check,
    judged,
)  # fmt: skip
from tests.faults.suite.client import Reply
from tests.faults.upstream.answers import TEXT
from tests.faults.upstream.modes.breaks import CODE, KIND, MESSAGE
from tests.faults.upstream.modes.shapes import UTF8

CUTS = ("cut_noterm", "cut_rst", "cut_close", "cut_clean")
EVENTS = {"chat": 63, "completions": 62, "responses": 68, "messages": 66}
"""Events of the canonical stream; the last whose loss truncates is the one of the finish."""
SHAPES = (
    "onebyte",
    "utf8",
    "crlf",
    "cr",
    "bom",
    "comments",
    "multi_data",
    "no_space",
    "slicer:{n}",
    "burst",
    "empty_delta",
)


@check(27, "bytes", timed=True, limit=90)
async def byte_exact(bench: Bench) -> Finding:
    """Random streams in unusual bytes come out with the same text, and no replacement character."""
    rng = bench.rng()
    count = 500 if bench.full else 165
    modes = [rng.choice(SHAPES).format(n=rng.randint(1, 40)) for _ in range(count)]
    replies = await together((bench.ask(mode, stream=True) for mode in modes), 8)
    wrong: dict[str, str] = {}
    for mode, reply in zip(modes, replies, strict=True):
        expected = "".join(UTF8) if mode == "utf8" else TEXT
        if reply.text != expected or "\ufffd" in reply.text or not reply.succeeded:
            kind = mode.split(":")[0]
            wrong[kind] = f"{len(reply.text)} of {len(expected)} characters, {reply.error or reply.end}"
    equal = count - sum(mode.split(":")[0] in wrong for mode in modes)
    return judged(not wrong, f"{equal} of {count} equal", f"{wrong}", log=[wrong])


def truncation(reply: Reply, whole: str = TEXT) -> str:
    """`success` when a part looks like everything, `told` when the client is told in band, `broken` when the transport says it."""
    if reply.overdue:
        return "hung"
    if reply.succeeded:
        return "whole" if reply.text == whole else "success"
    if reply.status == 200 and reply.error is None:
        return "broken"
    return "told"


async def _cuts(bench: Bench, protocol: str, modes: list[tuple[str, bool]], group: str = "solo") -> Finding:
    asked = [bench.ask(mode, group, stream=stream, protocol=protocol, wait=8) for mode, stream in modes]
    replies = await together(asked, 12)
    kinds = [truncation(reply) for reply in replies]
    rows = [f"{mode}{'' if stream else ' (whole)'}" for mode, stream in modes]
    lied = [row for row, kind in zip(rows, kinds, strict=True) if kind == "success"]
    hung = [row for row, kind in zip(rows, kinds, strict=True) if kind == "hung"]
    never = [f"{TRUNCATED}: {row} by {protocol}" for row in lied] + [f"{HUNG}: {row}" for row in hung]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    measured = f"{len(lied)} of {len(rows)} truncated answers passed for whole"
    verdict = FAIL if never else SAFE if counts.get("broken") else PASS
    return Finding(verdict, measured, f"{counts}" if verdict != PASS else "", never, [counts, lied, hung])


def _modes(bench: Bench, protocol: str) -> list[tuple[str, bool]]:
    """Every cut before the finish is out, and bodies that are cut."""
    last = EVENTS[protocol] - 1
    indexes = range(last) if protocol == "chat" or bench.full else range(0, last, 5)
    found = [(f"{kind}:{index}", True) for kind in CUTS for index in indexes]
    found += [(mode, True) for mode in ("finish_null", "badjson:20", "bad_chunk_size:20", "overlong_chunk:20")]
    found += [(mode, False) for mode in ("short_content_length", "cut_rst", "cut_noterm", "bad_json", "finish_null")]
    return [*found, ("hang:3", False)] if bench.full else found


@check(28, "chat", limit=120)
async def truncated_chat(bench: Bench) -> Finding:
    """Chat: a cut at every index, by every means, is never taken for a whole answer."""
    return await _cuts(bench, "chat", _modes(bench, "chat"))


@check(28, "tls", groups={"tls": Group(("tls",))})
async def truncated_tls(bench: Bench) -> Finding:
    """A TLS connection that ends without close_notify is a cut."""
    if "tls" not in bench.control.ports:
        return absent("there is no openssl command, and so no certificate")
    good = await bench.ask("ok", "tls", stream=True)
    if not good.succeeded:
        return absent(f"the gateway does not trust the suite's authority: {good.status} {good.error}")
    return await _cuts(bench, "chat", [(f"cut_tls:{index}", True) for index in range(0, 62, 4)], "tls")


BOTH = {"solo": SOLO, "chat": Group((0,), translated=True)}
"""Upstreams that speak the caller's protocol, and such that speak chat only."""


async def _others(bench: Bench, protocol: str) -> Finding:
    if reason := await bench.offered(protocol):
        return absent(reason)
    found = await _cuts(bench, protocol, _modes(bench, protocol))
    if protocol == "completions":
        return found
    other = await _cuts(bench, protocol, _modes(bench, protocol), "chat")
    worst, _ = sorted((found, other), key=lambda one: WORST[one.verdict])
    worst.measured = f"native: {found.measured}; translated: {other.measured}"
    worst.never, worst.log = [*found.never, *other.never], [*found.log, *other.log]
    return worst


@check(28, "completions")
async def truncated_completions(bench: Bench) -> Finding:
    """Completions: the same."""
    return await _others(bench, "completions")


@check(28, "responses", groups=BOTH, limit=90)
async def truncated_responses(bench: Bench) -> Finding:
    """Responses: the same."""
    return await _others(bench, "responses")


@check(28, "messages", groups=BOTH, limit=90)
async def truncated_messages(bench: Bench) -> Finding:
    """Anthropic messages: the same."""
    return await _others(bench, "messages")


@check(29, "chat")
async def error_in_band(bench: Bench) -> Finding:
    """Chat: an error after 200 reaches the client with its message, type and code, without `[DONE]`, and the SDK raises."""
    wrong = []
    modes = [f"{kind}:{index}" for kind in ("err_json", "err_event", "err_then_done") for index in (2, 17, 61)]
    for mode, reply in zip(modes, await together(bench.ask(mode, stream=True) for mode in modes), strict=True):
        found = reply.error or {}
        if sse.dones(reply.events):
            wrong.append(f"{mode}: [DONE] after an error")
        if (found.get("message"), found.get("type"), found.get("code")) != (MESSAGE, KIND, CODE):
            wrong.append(f"{mode}: {found}")
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{bench.port}/v1", api_key=bench.adapter.keys[0], max_retries=0)
    async with client:
        try:
            stream = await client.chat.completions.create(
                model=bench.model("err_json:17"), messages=[{"role": "user", "content": bench.nonce()}], stream=True
            )
            async for _ in stream:
                pass
            wrong.append("the openai SDK did not raise")
        except APIError:
            pass
    return judged(
        not wrong, f"{len(modes) + 1 - len(wrong)} of {len(modes) + 1} right", "; ".join(wrong[:3]), log=wrong
    )


@check(29, "others", groups=BOTH)
async def error_in_band_elsewhere(bench: Bench) -> Finding:
    """Anthropic and Responses, native and translated: an error after 200 is an event of the protocol."""
    wrong, count = [], 0
    for protocol, name in (("messages", "error"), ("responses", "response.failed")):
        if reason := await bench.offered(protocol):
            return absent(f"{protocol} {reason}")
        for group in BOTH:
            reply = await bench.ask("err_json:9", group, stream=True, protocol=protocol)
            count += 1
            if (reply.error or {}).get("message") != MESSAGE or reply.events[-1].name != name:
                wrong.append(f"{protocol} ({group}): {reply.error}, last event {reply.events[-1].name}")
    return judged(not wrong, f"{count - len(wrong)} of {count} right", "; ".join(wrong))


@check(30, "chat", groups={f"g{n}": TRIO for n in range(8)})
async def before_content(bench: Bench) -> Finding:
    """Chat: what fails before the first content is made good by another replica, in one clean stream."""
    modes = (
        "err_at:0",
        "err_at:1",
        "cut_clean:1",
        "cut_rst:1",
        "err_event:1",
        "badjson:1",
        "cut_close:0",
        "err_then_done:1",
    )
    wrong = []
    for number, mode in enumerate(modes):
        reply = await bench.ask_after(mode, f"g{number}", stream=True)
        problem = sse.chat_grammar(reply.events) if reply.succeeded else str(reply.error or reply.status)
        if problem or reply.text != TEXT:
            wrong.append(f"{mode}: {problem}")
    return judged(not wrong, f"{len(modes) - len(wrong)} of {len(modes)} clean", "; ".join(wrong), log=wrong)


@check(30, "others", groups={f"{kind}{n}": Group((0, 1, 2), translated=kind == "t") for kind in "nt" for n in range(4)})
async def before_content_elsewhere(bench: Bench) -> Finding:
    """Anthropic and Responses, native and translated: an error after their first events but before content is made good."""
    wrong, count = [], 0
    for protocol in ("messages", "responses"):
        if reason := await bench.offered(protocol):
            return absent(f"{protocol} {reason}")
        for kind in "nt":
            for index in range(4):
                mode, group = f"err_at:{index},before", f"{kind}{index}"
                reply = await bench.ask_after(mode, group, stream=True, protocol=protocol)
                count += 1
                if not reply.succeeded or reply.text != TEXT:
                    wrong.append(f"{protocol} ({'native' if kind == 'n' else 'translated'}) {index}: {reply.error}")
    return judged(not wrong, f"{count - len(wrong)} of {count} clean", "; ".join(wrong))


USAGES = ("ok", "usage_with_finish", "usage_after_finish", "usage_every_chunk", "usage_two", "usage_after_done")


@check(31, "ledger", groups={"solo": SOLO})
async def usage_once(bench: Bench) -> Finding:
    """The ledger has the usage that the upstream emitted, wherever it stood; what came late or not at all is not invented."""
    if not bench.adapter.given.get("ledger"):
        return absent("the adapter knows no ledger")
    names = bench.adapter.given["ledger"]
    wrong, modes = [], [(mode, stream) for mode in USAGES for stream in (True, False)]
    for mode, stream in modes:
        reply = await bench.ask(mode, stream=stream)
        row = await bench.ledger(reply)
        (attempt,) = await bench.seen(reply.nonce)
        truth = attempt["usage"] or {}
        guessed = _guessed(bench, row or {})
        got = tuple(None if names[one] in guessed else (row or {}).get(names[one]) for one in ("input", "output"))
        expected = truth.get("prompt_tokens"), truth.get("completion_tokens")
        if got != expected:
            wrong.append(f"{mode}{'' if stream else ' (whole)'}: ledger {got}, upstream {expected}")
    return judged(not wrong, f"{len(modes) - len(wrong)} of {len(modes)} equal", "; ".join(wrong), log=wrong)


@check(31, "missing")
async def usage_missing(bench: Bench) -> Finding:
    """An answer without any usage is booked as an estimate, and flagged as one; what was reported is not."""
    names, found, wrong = bench.adapter.given.get("ledger") or {}, {}, []
    for mode, stream in (("usage_none", True), ("usage_none", False), ("ok", True)):
        reply = await bench.ask(mode, stream=stream)
        row = await bench.ledger(reply)
        if row is None:
            return absent("no ledger row")
        (attempt,) = await bench.seen(reply.nonce)
        missing = not attempt["usage"]
        guessed, figure = _guessed(bench, row), row.get(names["output"])
        flags = [one for one in ("input", "output", "cost") if names[one] in guessed]
        found[f"{mode}{'' if stream else ' (whole)'}"] = f"{figure}, {'flagged' if flags else 'no flag'}"
        if missing != bool(flags) or (missing and not (len(flags) == 3 and figure and 20 <= figure <= 180)):
            wrong.append(f"{mode}: {names['output']} {figure}, flags {flags}")
    measured = "; ".join(f"{mode}: {said}" for mode, said in found.items())
    return judged(not wrong, measured, "; ".join(wrong), safe=all("None" in one for one in wrong))


def _guessed(bench: Bench, row: dict[str, Any]) -> list[str]:
    """Which figures of a ledger's row are said to be estimates."""
    return list(row.get((bench.adapter.given.get("ledger") or {}).get("estimated", ""), ()) or ())


@check(31, "hidden")
async def usage_hidden(bench: Bench) -> Finding:
    """A chunk of usage that the client did not ask for is hidden; asked for, the last one is the upstream's."""

    def chunks(reply: Reply) -> list[Any]:
        found = (event.json for event in reply.events)
        return [one["usage"] for one in found if isinstance(one, dict) and one.get("usage") and not one.get("choices")]

    wrong = []
    for mode in ("ok", "usage_after_finish", "usage_two"):
        unasked = chunks(await bench.ask(mode, stream=True))
        reply = await bench.ask(mode, stream=True, stream_options={"include_usage": True})
        asked = chunks(reply)
        (attempt,) = await bench.seen(reply.nonce)
        if unasked or not asked or asked[-1] != attempt["usage"]:
            wrong.append(f"{mode}: {len(unasked)} unasked, {len(asked)} asked for")
    return judged(not wrong, f"{3 - len(wrong)} of 3 right", "; ".join(wrong))


@check(33, "stall", timed=True)
async def stalled(bench: Bench) -> Finding:
    """A stream that stalls ends at the limit with an error, and the upstream's slot is free."""
    limit, grace = bench.adapter.seconds("stall", 60), bench.adapter.seconds("grace", 1)
    replies = await together(bench.ask(f"stall:20,i={index}", stream=True) for index in (2, 5, 30, 60))
    late = [abs(reply.seconds - limit) for reply in replies]
    released = []
    for reply in replies:
        (attempt,) = await bench.seen(reply.nonce)
        released.append((attempt["t_peer_closed"] or 1e9) - reply.ended)
    told = sum(reply.error is not None for reply in replies)
    ok = told == 4 and max(late) <= grace and max(released) <= 1.0
    return judged(
        ok,
        f"{told} of 4 told, off the limit by {ms(max(late))}, slot free after {ms(max(released))}",
        "see log",
        log=late,
    )


@check(33, "pings", timed=True, groups={"trio": TRIO, "solo": SOLO, "whole": TRIO})
async def pings(bench: Bench) -> Finding:
    """Pings are no progress: before content it fails over at the limit, after content it ends at the limit."""
    limit, grace = bench.adapter.seconds("ttft", 10), bench.adapter.seconds("grace", 1)
    stall = bench.adapter.seconds("stall", 60)
    before, after = await asyncio.gather(
        bench.ask_after("ping_forever:15", "trio", stream=True, wait=12),
        bench.ask("ping_forever:15,i=6", "solo", stream=True, wait=12),
    )
    wrong = []
    if before.text != TEXT or abs(before.seconds - limit) > grace:
        wrong.append(f"before content: {len(before.text)} characters after {ms(before.seconds)} (limit {limit} s)")
    if after.error is None or after.seconds > 3 * stall + grace:
        what = "no error" if after.error is None else "told"
        wrong.append(f"after content: {what} for {ms(after.seconds)} (limit {stall} s)")
    never = [f"{HUNG}: pings after content"] if after.overdue and after.seconds > 60 else []
    return judged(
        not wrong, f"{ms(before.seconds)} before, {ms(after.seconds)} after content", "; ".join(wrong), never=never
    )


@check(34, "slow_reader", stage="M", groups={"solo": Group((0,), ttft=30, stall=60)}, limit=40)
async def back_pressure(bench: Bench) -> Finding:
    """A reader of 10 KB/s pauses the upstream; little is buffered for it."""
    count, size = 4, 100
    async with bench.peak() as peak:
        readers = [asyncio.create_task(_slowly(bench, f"flood:{size}", 4.0)) for _ in range(count)]
        await asyncio.sleep(2.5)
        first = _sent(bench)
        await asyncio.sleep(1.2)
        second = _sent(bench)
        await asyncio.gather(*readers)
    each = peak.look() / count / 2**20
    moved = (sum(second) - sum(first)) / 2**20
    paused = moved < 4 and 0 < max(second) < 40 * 2**20
    measured = f"{each:.2f} MiB of memory for each stream; the upstream sent {moved:.1f} MiB in 1.2 s, {max(second) / 2**20:.0f} MiB in all"
    return judged(
        each <= 1.0 and paused, measured, "buffered more than 1 MiB" if paused else "the upstream was not paused"
    )


def _sent(bench: Bench) -> list[int]:
    return [one["bytes_sent"] for one in bench.control.log(mode="flood", light=1) if not one["over"]] or [0]


async def _slowly(bench: Bench, mode: str, seconds: float) -> int:
    """Read 1 KB every tenth of a second, for a while; then leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=2048)
    data = bench.request(mode, "solo", bench.nonce(), stream=True)
    writer.write(data)
    end, got = time.monotonic() + seconds, 0
    try:
        async with asyncio.timeout(seconds):
            while time.monotonic() < end:
                got += len(await reader.read(1024))
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
    return got
