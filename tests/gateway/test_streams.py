"""Streams: nothing goes out before the first content, nothing is retried after it, and a stream cut short never looks whole."""

import asyncio
import contextlib
import json
import time
from pathlib import Path

import pytest

from tests.gateway.conftest import Client, config_of, endpoint, running, text_of, until
from tests.gateway.upstream import (
    BILL,
    DONE,
    HELLO,
    ROLE,
    STOP,
    USAGE,
    WORLD,
    Exchange,
    Script,
    Upstream,
    breaks,
    delimited,
    event,
    failure,
    silent,
    stalls,
    status,
)

IN_BAND = b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n'


def sent(*found: bytes) -> Script:
    """A stream that ends as it should, after these events."""
    return breaks("clean", *found)


async def test_a_stream_is_relayed_and_ends(client: Client) -> None:
    """Role, words, finish, `[DONE]`; one record with the time to the first token."""
    code, events = await client.stream("one")
    assert code == 200
    assert text_of(events) == "Hello world"
    assert events[-1] == "[DONE]"
    record = await client.recorded()
    [attempt] = record.attempts
    assert attempt.stream_outcome == "completed"
    assert attempt.ttft is not None
    assert attempt.usage is not None
    assert attempt.usage.output_tokens == USAGE["completion_tokens"]


async def test_usage_is_asked_for_and_hidden_again(client: Client, upstream: Upstream) -> None:
    """The record has it; a client sees the usage chunk only if it asked itself."""
    _, events = await client.stream("one")
    assert upstream.log[-1].fields["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert "usage" not in "".join(events)
    _, events = await client.stream("one", fields={"stream_options": {"include_usage": True}})
    assert json.loads(events[-2])["usage"] == USAGE


async def test_a_receipt_comes_last_and_only_on_demand(client: Client) -> None:
    """One comment before the terminator, for those who read it."""
    body = {"stream": True}
    _, _, plain = await client.chat("one", fields=body)
    assert b"fw-receipt" not in plain
    _, _, found = await client.chat("one", fields=body, x_fw_receipt="1", x_fw_budget="1 USD")
    comment = found.split(b"\n\n")[-3]
    assert comment.startswith(b": fw-receipt ")
    receipt = json.loads(comment.removeprefix(b": fw-receipt "))
    assert receipt["model"] == "one"
    assert receipt["usage"]["prompt_tokens"] == USAGE["prompt_tokens"]
    assert float(receipt["cost"]) + float(receipt["budget_remaining"]) == pytest.approx(1)


BEFORE = {
    "reset": breaks("reset"),
    "a role, then a cut": breaks("cut", ROLE),
    "a role, then a clean end": sent(ROLE),
    "only [DONE]": sent(ROLE, DONE),
    "an error at once": sent(IN_BAND),
    "a role, then an error": sent(ROLE, IN_BAND),
    "comments, then a cut": breaks("cut", b": ping\n\n", ROLE, b": ping\n\n"),
    "an empty delta, then a reset": breaks("reset", ROLE, event({"content": ""}), event({})),
    "no JSON": sent(b"data: {oops\n\n"),
    "close-delimited and empty": delimited(ROLE),
    "not a stream": status(200, body=failure("busy")),
    "500": status(500),
}


@pytest.mark.parametrize("script", BEFORE.values(), ids=BEFORE.keys())
async def test_what_fails_before_content_falls_back_unseen(client: Client, upstream: Upstream, script: Script) -> None:
    """One clean stream reaches the client, from the second deployment."""
    upstream.scripts["bad"] = script
    code, events = await client.stream("pair")
    assert code == 200
    assert text_of(events) == "Hello world"
    assert [event for event in events if "error" in event] == []
    assert events[-1] == "[DONE]"
    assert (await client.recorded()).outcome == "fell_back"


def pings(*found: bytes, every: float = 0.05) -> Script:
    """Some events, then nothing but comments for as long as anyone listens."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(*found)
        while not exchange.gone.is_set():
            await exchange.chunk(b": ping\n\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await exchange.gone.wait()
        exchange.cut()

    return script


async def test_pings_are_no_progress(upstream: Upstream, tmp_path: Path) -> None:
    """A stream that only says that it is alive ends at the stall limit, in band, and its connection with it."""
    upstream.scripts["one"] = pings(ROLE, HELLO)
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url, stall_limit=0.5))) as client:
        start = time.monotonic()
        code, events = await client.stream("one")
        took = time.monotonic() - start
        assert code == 200
        assert text_of(events[:-1]) == "Hello"
        assert json.loads(events[-1])["error"]["code"] == "timeout"
        assert 0.4 < took < 1.5
        await until(upstream.log[0].gone.is_set)
        assert client.gateway._worlds.deployments["one@here"].busy.count == 0
        assert client.gateway._worlds.deployments["one@here"].circuit.failures == 1


async def test_pings_before_the_first_token_do_not_move_its_limit(upstream: Upstream, tmp_path: Path) -> None:
    """The next deployment answers, as if nothing had come."""
    upstream.scripts["bad"] = pings(ROLE)
    endpoints = (
        endpoint("pair", "bad", upstream.url, "bad", ttft_limit=0.4),
        endpoint("pair", "good", upstream.url, "good"),
    )
    async with running(config_of(tmp_path, *endpoints)) as client:
        start = time.monotonic()
        assert text_of((await client.stream("pair"))[1]) == "Hello world"
        assert 0.35 < time.monotonic() - start < 1.4


async def test_pings_between_words_harm_nothing(upstream: Upstream, tmp_path: Path) -> None:
    """Words that come in time are what counts, however long all of them take."""

    async def slowly(exchange: Exchange) -> None:
        await exchange.events(ROLE)
        for _ in range(5):
            for _ in range(4):
                await exchange.chunk(b": ping\n\n")
                await asyncio.sleep(0.05)
            await exchange.chunk(HELLO)
        for found in (STOP, DONE, b""):
            await exchange.chunk(found)

    upstream.scripts["one"] = slowly
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url, stall_limit=0.6))) as client:
        _, events = await client.stream("one")
        assert text_of(events) == 5 * "Hello"
        assert events[-1] == "[DONE]"


AFTER = {
    "cut": breaks("cut", ROLE, HELLO),
    "reset": breaks("reset", ROLE, HELLO),
    "a clean end without a finish": sent(ROLE, HELLO),
    "[DONE] without a finish": sent(ROLE, HELLO, DONE),
    "close-delimited": delimited(ROLE, HELLO),
    "close-delimited, in the middle of an event": delimited(ROLE, HELLO, STOP[:30]),
    "an error in band": sent(ROLE, HELLO, IN_BAND),
    "an error, then [DONE]": sent(ROLE, HELLO, IN_BAND, DONE),
    "an error event": sent(ROLE, HELLO, b'event: error\ndata: {"message":"overloaded"}\n\n'),
}


@pytest.mark.parametrize("script", AFTER.values(), ids=AFTER.keys())
async def test_a_stream_cut_short_is_never_a_success(client: Client, upstream: Upstream, script: Script) -> None:
    """What came stays, an error follows in band, no `[DONE]`, and nobody else is asked."""
    upstream.scripts["bad"] = script
    code, events = await client.stream("pair")
    assert code == 200
    assert text_of(events[:-1]) == "Hello"
    assert json.loads(events[-1])["error"]["message"]
    assert upstream.count("good") == 0
    record = await client.recorded()
    assert (record.outcome, record.attempts[0].stream_outcome) == ("failed", "upstream_interrupted")
    assert record.error_type == record.attempts[0].error_type == "stream_interrupted"


async def test_the_upstreams_own_error_is_kept(client: Client, upstream: Upstream) -> None:
    """Type, code and message of an error in band reach the client."""
    upstream.scripts["one"] = sent(ROLE, HELLO, b'data: {"error":{"message":"m","type":"t","code":"c"}}\n\n')
    _, events = await client.stream("one")
    assert json.loads(events[-1])["error"] == {"message": "m", "type": "t", "param": None, "code": "c"}


WHOLE = {
    "no [DONE]": sent(ROLE, HELLO, WORLD, STOP),
    "no [DONE], cut": breaks("cut", ROLE, HELLO, WORLD, STOP),
    "no [DONE], close-delimited": delimited(ROLE, HELLO, WORLD, STOP),
    "[DONE] twice": sent(ROLE, HELLO, WORLD, STOP, DONE, DONE),
    "data after [DONE]": sent(ROLE, HELLO, WORLD, STOP, DONE + HELLO),
    "all in one read": sent(ROLE + HELLO + WORLD + STOP + BILL + DONE),
    "usage after [DONE]": sent(ROLE, HELLO, WORLD, STOP, DONE + BILL),
    "CRLF": sent(*(found.replace(b"\n", b"\r\n") for found in (ROLE, HELLO, WORLD, STOP, DONE))),
}


@pytest.mark.parametrize("script", WHOLE.values(), ids=WHOLE.keys())
async def test_odd_but_whole_streams_are_successes(client: Client, upstream: Upstream, script: Script) -> None:
    """The finish reason says that an answer is whole; the client gets one `[DONE]` whatever the upstream did."""
    upstream.scripts["one"] = script
    _, events = await client.stream("one")
    assert text_of(events) == "Hello world"
    assert events.count("[DONE]") == 1
    assert events[-1] == "[DONE]"
    assert (await client.recorded()).error_type == ""


async def test_every_choice_must_finish(client: Client, upstream: Upstream) -> None:
    """Two answers were asked for, one finished: that is no success."""
    upstream.scripts["one"] = sent(ROLE, HELLO, STOP, DONE)
    _, events = await client.stream("one", fields={"n": 2})
    assert "error" in json.loads(events[-1])


async def test_a_stream_that_stalls_ends_with_an_error(upstream: Upstream, tmp_path: Path) -> None:
    """The stall limit is the endpoint's; the upstream is let go."""
    upstream.scripts["one"] = stalls(ROLE, HELLO)
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url, stall_limit=0.1))) as client:
        _, events = await client.stream("one")
        assert json.loads(events[-1])["error"]["code"] == "timeout"
        await upstream.log[0].gone.wait()


@pytest.mark.parametrize("script", [silent, stalls(ROLE, b": ping\n\n")], ids=["silent", "role only"])
async def test_no_content_within_the_limit_goes_elsewhere(upstream: Upstream, tmp_path: Path, script: Script) -> None:
    """A place that has not begun in time is left, and not tried again; pings are no content."""
    upstream.scripts["bad"] = script
    endpoints = (
        endpoint("pair", "bad", upstream.url, "bad", ttft_limit=0.1),
        endpoint("pair", "good", upstream.url, "good"),
    )
    async with running(config_of(tmp_path, *endpoints)) as client:
        _, events = await client.stream("pair")
        assert text_of(events) == "Hello world"
        assert upstream.count("bad") == 1
        record = await client.recorded()
        assert (record.attempts[0].outcome, record.attempts[0].error_type) == ("timeout", "timeout")


@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_usage_that_is_told_after_the_end_is_booked(client: Client, upstream: Upstream, pause: float) -> None:
    """It comes a moment later, on its own; the client does not see it, and its end comes all the same."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(ROLE, HELLO, STOP, DONE)
        await asyncio.sleep(pause)
        await exchange.chunk(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n')
        await exchange.chunk(b"")

    upstream.scripts["one"] = script
    _, events = await client.stream("one")
    assert events[-1] == "[DONE]"
    assert "usage" not in "".join(events)
    usage = (await client.recorded()).attempts[-1].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)


async def test_an_end_without_usage_is_not_held_back_for_long(client: Client, upstream: Upstream) -> None:
    """A server that keeps its connection open behind the terminator, and says nothing."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(ROLE, HELLO, STOP, DONE)
        await exchange.gone.wait()

    upstream.scripts["one"] = script
    began = time.monotonic()
    _, events = await client.stream("one")
    assert events[-1] == "[DONE]"
    assert time.monotonic() - began < 2
    assert (await client.recorded()).attempts[-1].outcome == "success"
