"""Tools, grammar, and streams that are odd but legal: rows 35 to 37."""

from openai import AsyncOpenAI

from tests.faults.suite import sse
from tests.faults.suite.bench import Bench, together
from tests.faults.suite.check import Finding, absent, check, judged
from tests.faults.suite.checks.streams import BOTH
from tests.faults.upstream.answers import TEXT
from tests.faults.upstream.modes.tools import GOLDEN

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
NO_IDS = frozenset({"tools_no_id"})


@check(35, "chat")
async def tools_by_chat(bench: Bench) -> Finding:
    """Chat: tool calls come out as they went in, however they are streamed."""
    wrong = []
    for mode, golden in GOLDEN.items():
        reply = await bench.ask(mode, stream=True, tools=TOOLS)
        got = [(call["id"], call["name"], call["arguments"]) for call in sse.tool_calls(reply.events)]
        ids = mode not in NO_IDS
        expected = [(tool.id if ids else "", tool.name, tool.arguments) for tool in golden]
        if got != expected or not reply.succeeded:
            wrong.append(f"{mode}: {len(got)} calls, {reply.error or reply.status}")
    return judged(not wrong, f"{len(GOLDEN) - len(wrong)} of {len(GOLDEN)} identical", "; ".join(wrong), log=wrong)


@check(35, "sdk")
async def tools_by_sdk(bench: Bench) -> Finding:
    """The openai SDK's own accumulator builds the same calls through the gateway as straight from the upstream."""
    wrong = []
    for mode in GOLDEN:
        found = []
        for port, model in ((bench.port, bench.model(mode)), (bench.control.ports["ports"][0], f"fx-{mode}")):
            client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=bench.adapter.keys[0], max_retries=0)
            async with client:
                found.append(await _accumulated(client, model, bench.nonce()))
        if found[0] != found[1]:
            wrong.append(f"{mode}: {found[0][:2]} instead of {found[1][:2]}")
    return judged(not wrong, f"{len(GOLDEN) - len(wrong)} of {len(GOLDEN)} identical", "; ".join(wrong), log=wrong)


async def _accumulated(client: AsyncOpenAI, model: str, text: str) -> list[tuple[str | None, str, str]]:
    messages = [{"role": "user", "content": text}]
    try:
        async with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:
            done = await stream.get_final_completion()
    except (KeyError, TypeError, AttributeError, IndexError, AssertionError, ValueError) as fault:
        return [(type(fault).__name__, "", "")]  # the accumulator cannot take it: then it must not take it either way
    calls = done.choices[0].message.tool_calls or []
    return [(call.id, call.function.name, call.function.arguments) for call in calls]


@check(35, "others", groups=BOTH)
async def tools_elsewhere(bench: Bench) -> Finding:
    """Anthropic and Responses, native and translated: the same objects."""
    reasons = {protocol: await bench.offered(protocol) for protocol in ("messages", "responses")}
    if any(reasons.values()):
        return absent("; ".join(f"{protocol} {reason}" for protocol, reason in reasons.items() if reason))
    wrong = []
    for mode, golden in GOLDEN.items():
        for protocol in reasons:
            for group in BOTH:
                reply = await bench.ask(mode, group, stream=True, protocol=protocol)
                got = [(call["name"], call["arguments"] or "{}") for call in sse.calls_of(protocol, reply.events)]
                if not reply.succeeded or got != [(tool.name, tool.arguments or "{}") for tool in golden]:
                    wrong.append(f"{mode} by {protocol} ({group}): {len(got)} calls, {reply.error or reply.status}")
    total = 4 * len(GOLDEN)
    return judged(not wrong, f"{total - len(wrong)} of {total} identical", "; ".join(wrong))


@check(36, "chat")
async def grammar_chat(bench: Bench) -> Finding:
    """Chat: every good stream is one role, content, one finish for each choice, one `[DONE]`."""
    modes = {
        "ok": 1, "n2": 2, "role_late": 1, "no_role": 1, "empty_delta": 1, "logprobs": 1, "reasoning": 1, "refusal": 1,
        "usage_every_chunk": 1, "usage_with_finish": 1, "finish_length": 1, "done_twice": 1, "data_after_done": 1,
        "nodone": 1, "tools_interleaved": 1, "burst": 1, "crlf": 1, "unknown_event": 1,
    }  # fmt: skip
    wrong = []
    for mode, choices in modes.items():
        more = {"n": choices} if choices > 1 else {}
        reply = await bench.ask(mode, stream=True, **more)
        if problem := sse.chat_grammar(reply.events, choices) or str(reply.error or ""):
            wrong.append(f"{mode}: {problem}")
    return judged(not wrong, f"{len(modes) - len(wrong)} of {len(modes)} accepted", "; ".join(wrong), log=wrong)


@check(36, "others", groups=BOTH)
async def grammar_elsewhere(bench: Bench) -> Finding:
    """Anthropic and Responses: their automaton accepts every stream."""
    modes = (
        "a_ok",
        "a_double_start",
        "a_no_stop",
        "a_index_gap",
        "a_thinking_signature",
        "a_input_json_delta",
        "a_cache_usage",
    )
    wrong = []
    for protocol in ("messages", "responses"):
        if reason := await bench.offered(protocol):
            return absent(f"{protocol} {reason}")
        for mode, group in [(mode, group) for mode in modes for group in BOTH]:
            reply = await bench.ask(mode, group, stream=True, protocol=protocol)
            starts = sum(e.name in {"message_start", "response.created"} for e in reply.events)
            stops = sum(e.name in {"message_stop", "response.completed"} for e in reply.events)
            if starts != 1 or stops + (reply.error is not None) != 1:  # without its stop, an error is the right end
                wrong.append(f"{mode} by {protocol} ({group}): {starts} starts, {stops} stops, {reply.error}")
    return judged(not wrong, f"{4 * len(modes) - len(wrong)} of {4 * len(modes)} accepted", "; ".join(wrong))


ODD = (
    "nodone",
    "done_twice",
    "data_after_done",
    "bigevent:1",
    "unknown_event",
    "no_space",
    "comments",
    "103",
    "100_continue",
)


@check(37, "chat", timed=True)
async def odd_but_legal(bench: Bench) -> Finding:
    """Chat: what is odd but legal comes out whole, with one `[DONE]` and nothing after it."""
    wrong = []
    for mode, reply in zip(ODD, await together(bench.ask(mode, stream=True) for mode in ODD), strict=True):
        text = reply.text if not mode.startswith("bigevent") else reply.text.replace("x" * 2**20, "word01")
        problem = sse.chat_grammar(reply.events) if reply.events else f"no event, status {reply.status}"
        if problem or text != TEXT:
            wrong.append(f"{mode}: {problem or f'{len(text)} of {len(TEXT)} characters'}")
    return judged(not wrong, f"{len(ODD) - len(wrong)} of {len(ODD)} whole", "; ".join(wrong), log=wrong)


@check(37, "others")
async def odd_elsewhere(bench: Bench) -> Finding:
    """Completions, Anthropic and Responses: the same."""
    wrong = []
    for protocol in ("completions", "messages", "responses"):
        if reason := await bench.offered(protocol):
            return absent(f"{protocol} {reason}")
        for mode in ODD:
            if (protocol, mode) == ("messages", "nodone"):
                continue  # `message_stop` is no habit: without it the answer is not whole
            reply = await bench.ask(mode, stream=True, protocol=protocol)
            if not reply.succeeded:
                wrong.append(f"{mode} by {protocol}")
    return judged(not wrong, f"{len(wrong)} wrong", "; ".join(wrong))
