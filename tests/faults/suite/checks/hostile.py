"""Input that means harm: fuzz, limits of JSON, smuggling, and a last look for secrets: rows 69 to 71."""

import json
import random
from typing import Any

from tests.faults import raw
from tests.faults.suite import process
from tests.faults.suite.bench import Bench, ms, together
from tests.faults.suite.check import CROSSED, FAIL, HUNG, PASS, SAFE, SECRET, Finding, check, judged
from tests.faults.suite.client import Reply, talk

PATHS = ("/v1/chat/completions", "/v1/embeddings", "/v1/explain", "/v1/outcomes", "/v1/decisions/x/verdict")
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, "", "x" * 300, "\u0000", "\ud83d\ude00", [], {}, [None], {"": None}, [[[]]], "auto", "../etc",
)  # fmt: skip
FIELDS = (
    "model", "messages", "stream", "stream_options", "n", "max_tokens", "temperature", "tools", "tool_choice", "response_format",
    "input", "outcomes", "run", "decision", "stop", "user", "metadata", "logit_bias", "reasoning_effort", "accept", "attempt",
)  # fmt: skip


def mutated(rng: random.Random, model: str) -> tuple[str, bytes]:
    """A path, and a body that is a good one with a few things wrong."""
    found: Any = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    for _ in range(rng.randint(1, 3)):
        found[rng.choice(FIELDS)] = rng.choice(ODD)
    if rng.random() < 0.2:
        found["messages"] = [{"role": rng.choice(ODD), "content": rng.choice(ODD), rng.choice(FIELDS): rng.choice(ODD)}]
    if rng.random() < 0.05:
        found = rng.choice(ODD)
    body = bytearray(json.dumps(found).encode())
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        if body:
            body[rng.randrange(len(body))] = rng.randrange(256)
    return rng.choice(PATHS[:2] if rng.random() < 0.7 else PATHS), bytes(body)


HEADERS = (
    "x-fw-budget: NaN", "x-fw-budget: -1 USD", "x-fw-attempt: 0", "x-fw-labels: ,,=,", "x-request-timeout: inf",
    "x-request-timeout: -0", "traceparent: 00-zz", "x-fw-policy: ../../x", "x-request-id: \xff\xfe", "x-fw-verify: regex(", "accept: \xe9",
    "x-fw-run: " + "r" * 500, "content-encoding: br", "transfer-encoding: identity", "expect: 200-maybe", "range: bytes=0-",
)  # fmt: skip


def wrecked(rng: random.Random, model: str, lines: list[str]) -> bytes:
    """A raw request in which some bytes are others, or missing."""
    data = bytearray(raw.request(PATHS[0], raw.chat(model), *lines))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data))
        if rng.random() < 0.5:
            data[place] = rng.randrange(256)
        else:
            del data[place : place + rng.randint(1, 9)]
    return bytes(data)


@check(69, "fuzz", stage="D", limit=150)
async def fuzz(bench: Bench) -> Finding:
    """Broken JSON, odd fields, odd headers and broken HTTP: none of our 5xx, no hang, no traceback."""
    rng = bench.rng()
    count = 100_000 if bench.full else 3_000
    cases = []
    for number in range(count):
        lines = bench.lines([rng.choice(HEADERS)] if rng.random() < 0.2 else [])
        if number % 4 == 3:
            cases.append(wrecked(rng, bench.model("ok"), lines))
        else:
            path, body = mutated(rng, bench.model("ok"))
            cases.append(raw.request(path, body, *lines))
    # A request that is cut or announces too much is rightly waited for: it gets a second, and says nothing about hanging.
    before = bench.gateway.log.read_text(errors="replace").count("Traceback")
    replies = await together((talk(bench.port, data, wait=1.0) for data in cases), 24)
    bad = [
        (reply, data)
        for reply, data in zip(replies, cases, strict=True)
        if reply.status >= 500 and not _upstream(reply)
    ]
    # What is well formed and was not answered within a second is asked again, alone: only then it hangs.
    slow = [
        data
        for number, (reply, data) in enumerate(zip(replies, cases, strict=True))
        if reply.overdue and number % 4 != 3
    ]
    hung = [data for data in slow[:20] if (await talk(bench.port, data, wait=5.0)).overdue]
    traces = bench.gateway.log.read_text(errors="replace").count("Traceback") - before
    statuses: dict[int, int] = {}
    for reply in replies:
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
    ok = not bad and not hung and not traces and bench.gateway.alive
    measured = f"{count} cases (10^5 in the full profile): {len(bad)} of our 5xx, {len(hung)} hang, {traces} tracebacks"
    log = [
        statuses,
        *[(reply.status, data[-300:].decode("latin-1"), reply.body[:200].decode("latin-1")) for reply, data in bad[:5]],
    ]
    why = f"{log[1] if bad else ''} {hung[:1]}"
    return judged(ok, measured, why, log=log, never=[f"{HUNG}: {data[-80:]!r}" for data in hung])


def _upstream(reply: Reply) -> bool:
    """Whether a 5xx says that it is the upstream's."""
    return reply.status in {502, 503, 504} and (reply.error or {}).get("code") in {"upstream_failed", "no_candidate"}


def corpus(model: str) -> dict[str, bytes]:
    """Bodies that are beyond the limits of JSON."""
    body = '{"model":' + json.dumps(model) + ',"messages":[{"role":"user","content":"x"}],'
    many = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}] * 10_001}).encode()
    return {
        "depth 65": (body + '"metadata":' + '{"a":' * 64 + "1" + "}" * 64 + "}").encode(),
        "depth 100000": (body + '"metadata":' + "[" * 100_000 + "]" * 100_000 + "}").encode(),
        "10,001 messages": many,
        "NaN": (body + '"temperature":NaN}').encode(),
        "Infinity": (body + '"temperature":Infinity}').encode(),
        "-Infinity": (body + '"top_p":-Infinity}').encode(),
        "a key twice": (body + '"temperature":0,"temperature":1}').encode(),
        "`model` twice": (body + f'"model":{json.dumps(model)}' + "}").encode(),
        "a lone surrogate": (body + '"user":"\\ud800"}').encode(),
        "an integer of 5,000 digits": (body + f'"seed":{"9" * 5000}' + "}").encode(),
        "a list": b"[1,2,3]",
        "a text": b'"x"',
        "nothing": b"",
        "not UTF-8": (body + '"user":"').encode() + b'\xff\xfe"}',
        "trailing comma": (body + "}").encode(),
    }


@check(70, "limits", stage="D")
async def json_limits(bench: Bench) -> Finding:
    """Each body beyond the limits is a 400, for at most 20 ms of processor time."""
    wrong, costs = [], []
    for name, body in corpus(bench.model("ok")).items():
        data = raw.request(PATHS[0], body, *bench.lines())
        await process.quiet(bench.pid)
        before = process.cpu(bench.pid)
        reply = await talk(bench.port, data, wait=5.0)
        costs.append(process.cpu(bench.pid) - before)
        if reply.status != 400:
            wrong.append(f"{name}: {reply.status}")
        elif costs[-1] > 0.020:
            wrong.append(f"{name}: {ms(costs[-1])} of processor time")
    total = len(corpus(""))
    return judged(
        not wrong, f"{total - len(wrong)} of {total}; at most {ms(max(costs))} of processor time", "; ".join(wrong)
    )


def smuggling(body: bytes, lines: list[str]) -> dict[str, bytes]:
    """Requests whose end is a matter of opinion."""
    key = "\r\n".join(lines)
    path, size = PATHS[0], len(body)

    def made(*more: str, payload: bytes = body, first: str = f"POST {path} HTTP/1.1", host: str = "host: x") -> bytes:
        return (
            "\r\n".join([first, host, key, "content-type: application/json", *more, "", ""]).encode("latin-1") + payload
        )

    length, chunked = f"content-length: {size}", "transfer-encoding: chunked"
    framed = f"{size:x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    good = made(length)
    return {
        "length and chunked": made(length, chunked, payload=framed),
        "chunked and length 0": made(chunked, "content-length: 0", payload=framed),
        "two lengths that differ": made(length, "content-length: 1"),
        "two lengths that agree": made(length, length),
        "a length as a list": made(f"content-length: {size}, {size}"),
        "a length with a plus": made(f"content-length: +{size}"),
        "a length with an underscore": made("content-length: 1_0"),
        "a negative length": made("content-length: -1"),
        "a length in hex": made(f"content-length: 0x{size:x}"),
        "two hosts": made(length, "host: y"),
        "no host": good.replace(b"host: x\r\n", b""),
        "bare LF": good.replace(b"\r\n", b"\n"),
        "bare CR": made(length, "x-a: b\rx-c: d"),
        "folded header": made(length, "x-a: b\r\n c"),
        "space before the colon": made(f"content-length : {size}"),
        "a coding of another name": made("transfer-encoding: xchunked", payload=framed),
        "chunked, then identity": made("transfer-encoding: chunked, identity", payload=framed),
        "chunked twice": made(chunked, chunked, payload=framed),
        "chunked with a tab": made("transfer-encoding:\tchunked\x0b", payload=framed),
        "a NUL in a header": made(length, "x-a: b\x00c"),
        "a chunk's size with 0x": made(chunked, payload=b"0x" + framed),
        "a chunk without its end": made(chunked, payload=f"{size:x}\r\n".encode() + body + b"XX0\r\n\r\n"),
        "a version of its own": made(length, first=f"POST {path} HTTP/1.9x"),
        "a space in the target": made(length, first=f"POST {path} x HTTP/1.1"),
    }


@check(71, "smuggling", stage="D")
async def smuggled(bench: Bench) -> Finding:
    """Requests that two parsers could read differently: refused with 400, and the connection is closed."""
    body = raw.chat(bench.model("ok"))
    wrong, open_ = [], []
    probe = raw.request("/livez", b"", method="GET")
    cases = smuggling(body, bench.lines())
    for name, data in cases.items():
        # What is sent after it on the same connection must not be answered: then nothing can be smuggled behind it.
        reply = await talk(bench.port, data + probe, wait=1.5)
        first = reply.status
        rest = raw.talk(bench.port, data + probe, wait=0.5, whole=False)
        answers = rest.data.count(b"HTTP/1.1 ")
        if first != 400:
            wrong.append(f"{name}: {first or rest.end}")
        elif answers > 1 or rest.end == raw.QUIET:
            open_.append(f"{name}: {answers} answers, {rest.end}")
    measured = f"{len(cases) - len(wrong) - len(open_)} of {len(cases)} refused and closed"
    verdict = (
        PASS
        if not wrong and not open_
        else SAFE
        if not [one for one in wrong if ": 200" in one] and not open_
        else FAIL
    )
    return Finding(verdict, measured, "; ".join([*wrong, *open_]))


@check(69, "echo", stage="D", limit=60)
async def cross_talk(bench: Bench) -> Finding:
    """Answers that repeat their own nonce, with clients that leave in between: nobody sees another's bytes."""
    count = 20_000 if bench.full else 800

    async def one(number: int) -> str:
        if number % 5 == 4:
            async with bench.under_way("echo", stop=b"nonce"):
                return ""
        reply = await bench.ask("echo", stream=bool(number % 2))
        foreign = set(reply.text.split()) - {reply.nonce}
        return f"{foreign}" if foreign else "" if reply.succeeded else f"status {reply.status} {reply.error}"

    found = [text for text in await together((one(number) for number in range(count)), 16) if text]
    crossed = [text for text in found if "nonce-" in text]
    return judged(not found, f"{count} answers, {len(crossed)} with foreign bytes", "; ".join(found[:3]), never=[
        f"{CROSSED}: {text}" for text in crossed
    ])  # fmt: skip


@check(69, "headers", stage="D")
async def hygiene(bench: Bench) -> Finding:
    """Headers of the upstream do not reach the client, nor the caller's the upstream; secrets come out nowhere."""
    key, secret = bench.adapter.keys[0], str(bench.adapter.given["secret"])
    wrong, texts = [], []
    for mode in ("leak_headers", "set_cookie", "echo_headers", "prompt_echo_error", "crlf_header", "401"):
        for stream in (False, True):
            reply = await bench.ask(
                mode, stream=stream, headers=["cookie: session=caller-canary", "x-api-key: caller-canary"]
            )
            head = reply.head.decode("latin-1").lower()
            texts.append(reply.data if mode != "echo_headers" else reply.head)
            if "canary" in head or "set-cookie" in head:
                wrong.append(f"{mode}: {[line for line in head.splitlines() if 'canary' in line or 'cookie' in line]}")
            if mode == "echo_headers" and ("caller-canary" in reply.text or key in reply.text):
                wrong.append("the caller's credentials went upstream")
    texts += [path.read_bytes() for path in bench.gateway.folder.iterdir() if path.is_file() and path.suffix != ".yaml"]
    leaked = [
        name
        for name, value in (("the caller's key", key), ("the upstream's key", secret))
        if any(value.encode() in t for t in texts)
    ]
    never = [f"{SECRET}: {name}" for name in leaked]
    return judged(
        not wrong and not leaked,
        f"{len(wrong)} headers through, {len(leaked)} secrets out",
        "; ".join(wrong),
        never=never,
    )
