"""Official clients as they are, and identifiers that travel: rows 72 and 73."""

import asyncio
import importlib
import importlib.util
import json
from typing import Any

from openai import AsyncOpenAI, NotFoundError, OpenAIError

from tests.clients import environment
from tests.faults.suite.bench import Bench
from tests.faults.suite.check import SOLO, TRIO, Finding, absent, check, judged
from tests.faults.suite.checks.shapes import TOOLS
from tests.faults.upstream.answers import TEXT


def _openai(bench: Bench) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{bench.port}/v1", api_key=bench.adapter.keys[0], max_retries=0)


async def _matrix(client: AsyncOpenAI, bench: Bench) -> dict[str, bool]:
    """What an OpenAI user does, and whether it came out right."""
    found: dict[str, bool] = {}
    messages: Any = [{"role": "user", "content": bench.nonce()}]
    whole = await client.chat.completions.create(model=bench.model("ok"), messages=messages)
    found["chat"] = whole.choices[0].message.content == TEXT
    pieces = []
    options: Any = {"include_usage": True}
    stream = await client.chat.completions.create(
        model=bench.model("ok"), messages=messages, stream=True, stream_options=options
    )
    usage = None
    async for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    found["stream"] = "".join(pieces) == TEXT
    found["usage"] = usage is not None and usage.completion_tokens == 60
    tools: Any = TOOLS
    called = await client.chat.completions.create(
        model=bench.model("tools_interleaved"), messages=messages, tools=tools
    )
    found["tools"] = len(called.choices[0].message.tool_calls or []) == 2
    vectors = await client.embeddings.create(model=bench.model("ok"), input=["a", "b"], encoding_format="float")
    found["embeddings"] = len(vectors.data) == 2
    found["models"] = bool([model.id async for model in await client.models.list()])
    return found


@check(72, "openai", stage="A")
async def openai_sdk(bench: Bench) -> Finding:
    """The openai SDK: chat, streams with usage, tools, embeddings, models, completions, responses."""
    async with _openai(bench) as client:
        try:
            found = await _matrix(client, bench)
        except OpenAIError as fault:
            return judged(False, "the SDK raised", f"{type(fault).__name__}: {fault}")
        for name in ("completions", "responses"):
            try:
                if name == "completions":
                    text = (await client.completions.create(model=bench.model("ok"), prompt="x")).choices[0].text
                else:
                    text = (await client.responses.create(model=bench.model("ok"), input="x")).output_text
                found[name] = text == TEXT
            except NotFoundError:
                found[name] = False
    right = sum(found.values())
    wrong = [name for name, good in found.items() if not good]
    return judged(not wrong, f"{right} of {len(found)}", f"not served or wrong: {', '.join(wrong)}", log=[found])


@check(72, "anthropic", stage="A")
async def anthropic_sdk(bench: Bench) -> Finding:
    """The anthropic SDK: messages, streams, token counts."""
    if reason := await bench.offered("messages"):
        return absent(f"/v1/messages {reason}")
    if importlib.util.find_spec("anthropic") is None:
        return absent("the anthropic SDK is not installed; with it this check runs by itself")
    sdk = importlib.import_module("anthropic")
    async with sdk.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{bench.port}", api_key=bench.adapter.keys[0], max_retries=0
    ) as client:
        about = {"model": bench.model("ok"), "max_tokens": 100, "messages": [{"role": "user", "content": "x"}]}
        whole = await client.messages.create(**about)
        async with client.messages.stream(**about) as stream:
            streamed = await stream.get_final_text()
        counted = await client.messages.count_tokens(model=about["model"], messages=about["messages"])
    found = [whole.content[0].text == TEXT, streamed == TEXT, counted.input_tokens > 0]
    return judged(all(found), f"{sum(found)} of 3", f"{found}")


@check(72, "langchain", stage="A")
async def langchain(bench: Bench) -> Finding:
    """LangChain's ChatOpenAI: invoke and stream."""
    if importlib.util.find_spec("langchain_openai") is None:
        return absent("langchain-openai is not installed")
    chat = importlib.import_module("langchain_openai").ChatOpenAI(
        model=bench.model("ok"),
        base_url=f"http://127.0.0.1:{bench.port}/v1",
        api_key=bench.adapter.keys[0],
        max_retries=0,
    )
    whole = (await chat.ainvoke("x")).content
    streamed = "".join([chunk.content async for chunk in chat.astream("x")])
    return judged((whole, streamed) == (TEXT, TEXT), f"{(whole == TEXT) + (streamed == TEXT)} of 2", "the text differs")


@check(72, "vercel", stage="A")
async def vercel(bench: Bench) -> Finding:
    """Vercel's AI SDK on Node: whole answers and streams in each protocol that is offered."""
    home = environment.folder()
    if not (home / environment.READY).exists():
        return absent("its npm packages are not here: `make test-javascript` brings them")
    protocols = [name for name in ("chat", "responses", "messages") if not await bench.offered(name)]
    root = f"http://127.0.0.1:{bench.port}/v1"
    command = (str(environment.NODE), "vercel.mjs", root, bench.adapter.keys[0], bench.model("ok"))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=home, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(60):
            told, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return judged(False, "the SDK raised", complaint.decode()[-500:])
    found: Any = json.loads(told)
    good = [found[name].get(kind, [""])[0] == TEXT for name in protocols for kind in ("text", "stream")]
    return judged(bool(good) and all(good), f"{sum(good)} of {len(good)}", f"{found}")


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@check(73, "ids", stage="A")
async def identifiers(bench: Bench) -> Finding:
    """The caller's request id comes back; its trace goes on upstream, and nothing else of its headers does."""
    given = "my-request-0001"
    headers = [
        f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01",
        f"x-request-id: {given}",
        "cookie: session=caller-canary",
    ]
    reply = await bench.ask("ok", headers=headers)
    (attempt,) = await bench.seen(reply.nonce)
    sent = dict(attempt["headers"])
    wrong = [] if reply.headers.get("x-request-id") == given else [f"id {reply.headers.get('x-request-id')}"]
    wrong += (
        [] if TRACE in sent.get("traceparent", "") else ["no traceparent upstream (off by default for this provider)"]
    )
    wrong += ["a cookie went upstream"] if "caller-canary" in str(sent) else []
    return judged(not wrong, "id, trace", "; ".join(wrong))


@check(73, "told", stage="A", groups={"trio": TRIO, "solo": SOLO})
async def told(bench: Bench) -> Finding:
    """Route, attempts and cost are in headers, and in the ledger."""
    reply = await bench.ask_after("500", "trio")
    tries = len(await bench.seen(reply.nonce))
    missing = []
    for what in ("id", "route", "cost", "attempts"):
        name = bench.adapter.header(what)
        if not reply.headers.get(name):
            missing.append(f"no {what} ({name or 'no such header'})")
    row = await bench.ledger(reply)
    names = bench.adapter.given.get("ledger") or {}
    booked = len((row or {}).get(names.get("attempts", ""), ()))
    if row is None or booked != tries:
        missing.append(f"ledger has {booked} attempts of {tries}")
    usage = (reply.json or {}).get("usage") or {}
    prices = bench.adapter.given.get("input_price", 0), bench.adapter.given.get("output_price", 0)
    cost = usage.get("prompt_tokens", 0) * prices[0] + usage.get("completion_tokens", 0) * prices[1]
    if row is not None and row.get(names["cost"]) != cost:
        missing.append(f"cost {row.get(names['cost'])} instead of {cost}")
    return judged(not missing, f"{tries} attempts, {booked} booked", "; ".join(missing))


@check(73, "streamed", stage="A")
async def told_in_a_stream(bench: Bench) -> Finding:
    """A stream's caller can learn route and cost: by header, trailer, or its last event."""
    reply = await bench.ask("ok", stream=True, headers=["x-fw-receipt: 1"])
    route = bool(reply.headers.get(bench.adapter.header("route")))
    cost = bool(reply.headers.get(bench.adapter.header("cost"))) or b"cost" in reply.body
    return judged(route and cost, f"route {route}, cost {cost}", "not told")
