"""Messages and Responses are relayed as chat is: byte for byte, committed at the first content, whole only by their own last event."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.config import Secret
from fw_gateway.providers.dialects.messages.relay import MessagesWatcher
from fw_gateway.providers.dialects.responses.relay import ResponsesWatcher
from fw_gateway.providers.watching import Watcher
from fw_gateway.values import Usage
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import Exchange, Script, Upstream, breaks
from tests.gateway.wires import ANTHROPIC, ANTHROPIC_WHOLE, RESPONSE_WHOLE, RESPONSES, named

WATCHERS: dict[str, tuple[type[Any], tuple[bytes, ...]]] = {
    "messages": (MessagesWatcher, ANTHROPIC),
    "responses": (ResponsesWatcher, RESPONSES),
}
ASKED = {
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "m", "input": "Hi"},
}
WHOLE = {"messages": ANTHROPIC_WHOLE, "responses": RESPONSE_WHOLE}
both = pytest.mark.parametrize("kind", ["messages", "responses"])


def fed(watcher: Watcher, data: bytes, cuts: list[int]) -> bytes:
    """What a watcher lets through of a stream that comes in pieces."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return b"".join(watcher.feed(data[a:b]) for a, b in itertools.pairwise(edges))


@both
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12), spelt=st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_passes_whole_however_it_is_cut(kind: str, cuts: list[int], spelt: bytes) -> None:
    """All but the last event comes out unchanged; the last is kept for the end, and makes it whole."""
    make, events = WATCHERS[kind]
    watcher = make()
    spelled = [event.replace(b"\n", spelt) for event in events]
    assert (fed(watcher, b"".join(spelled), cuts) + watcher.ending()).strip() == b"".join(spelled).strip()
    assert watcher.ending().strip() == spelled[-1].strip()
    assert watcher.complete
    assert not watcher.problem
    assert watcher.usage is not None
    assert (watcher.usage.input_tokens, watcher.usage.cached_tokens, watcher.usage.output_tokens) == (7, 2, 3)


@both
def test_every_stream_that_ends_early_is_not_whole(kind: str) -> None:
    """Cut after any number of events, no part of an answer is taken for all of it."""
    make, events = WATCHERS[kind]
    for count in range(len(events)):
        watcher = make()
        watcher.feed(b"".join(events[:count]))
        assert not watcher.complete


@both
def test_nothing_goes_out_before_the_first_content(kind: str) -> None:
    """Beginnings and pings are held; the first words release all of it at once."""
    make, events = WATCHERS[kind]
    watcher, first = make(), next(i for i, event in enumerate(events) if b"Hello" in event)
    for event in events[:first]:
        assert watcher.feed(event) == b""
    assert watcher.feed(events[first]) == b"".join(events[: first + 1])


def test_a_call_of_a_function_is_content() -> None:
    """Its name alone is worth something."""
    watcher: Watcher = MessagesWatcher()
    assert watcher.feed(named("content_block_start", index=0, content_block={"type": "tool_use", "name": "f"}))
    watcher = ResponsesWatcher()
    assert watcher.feed(named("response.output_item.added", output_index=0, item={"type": "function_call"}))


@pytest.mark.parametrize("kind", [[], {}, 7, None])
def test_a_type_may_be_anything(kind: object) -> None:
    """What is no text cannot be looked for; it is something unknown, and so it is content."""
    watcher: Watcher = MessagesWatcher()
    assert watcher.feed(named("content_block_start", index=0, content_block={"type": kind}))
    watcher = ResponsesWatcher()
    assert watcher.feed(named("response.output_item.added", output_index=0, item={"type": kind}))


def test_pings_are_relayed_and_are_no_progress() -> None:
    """They keep the connection open, not the call."""
    watcher = MessagesWatcher()
    watcher.feed(b"".join(ANTHROPIC[:4]))
    before = watcher.chunks
    assert watcher.feed(named("ping")) == named("ping")
    assert watcher.chunks == before


def spoken(kind: str, upstream: Upstream, folder: Path, *names: str) -> Any:
    """A gateway whose models `m` (one place for each of `names`) speak only one protocol."""
    protocol = {"messages": "anthropic_messages", "responses": "openai_responses"}[kind]
    places = [endpoint("m", name, upstream.url, name, speaks=(protocol,), stall_limit=0.3) for name in names]
    return running(config_of(folder, *places))


def answering(kind: str) -> Script:
    """The protocol's answer, whole or as a stream."""

    async def script(exchange: Exchange) -> None:
        if exchange.fields.get("stream"):
            await breaks("clean", *WATCHERS[kind][1])(exchange)
        else:
            await exchange.whole(200, json.dumps(WHOLE[kind]).encode())

    return script


async def ask(client: Client, kind: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    """One exchange."""
    return await client.post(f"/v1/{kind}", json.dumps({**ASKED[kind], **fields}).encode())


@both
async def test_an_answer_is_relayed_as_bytes_and_counted(kind: str, upstream: Upstream, tmp_path: Path) -> None:
    """Whole and as a stream: what the upstream wrote is what the client reads; the record knows what it used."""
    upstream.scripts["good"] = answering(kind)
    async with spoken(kind, upstream, tmp_path, "good") as client:
        status, headers, body = await ask(client, kind)
        assert (status, json.loads(body)) == (200, WHOLE[kind])
        assert headers["x-fw-model"] == "m"
        assert (await client.recorded()).attempts[0].usage is not None
        status, _, body = await ask(client, kind, stream=True)
        assert (status, body) == (200, b"".join(WATCHERS[kind][1]))
        record = await client.recorded(2)
    usage = record.attempts[0].usage
    assert isinstance(usage, Usage)
    assert (usage.input_tokens, usage.output_tokens) == (7, 3)
    assert record.attempts[0].stream_outcome == "completed"
    assert upstream.log[-1].path == f"/v1/{kind}"
    assert upstream.log[-1].fields == {**ASKED[kind], "model": "good", "stream": True}


@both
async def test_what_fails_before_content_falls_back_unseen(kind: str, upstream: Upstream, tmp_path: Path) -> None:
    """A begun stream that breaks before its first words is not the client's yet."""
    first = next(i for i, event in enumerate(WATCHERS[kind][1]) if b"Hello" in event)
    upstream.scripts |= {"good": answering(kind), "bad": breaks("clean", *WATCHERS[kind][1][:first])}
    async with spoken(kind, upstream, tmp_path, "bad", "good") as client:
        _, _, body = await ask(client, kind, stream=True)
        assert body == b"".join(WATCHERS[kind][1])


@both
@pytest.mark.parametrize("how", ["clean", "reset", "stall"])
async def test_a_stream_cut_short_says_so_in_its_protocols_words(
    kind: str, how: str, upstream: Upstream, tmp_path: Path
) -> None:
    """After the first words the error goes in band, and the terminator never comes."""
    events = WATCHERS[kind][1][:-1]
    upstream.scripts["bad"] = breaks(how, *events)
    async with spoken(kind, upstream, tmp_path, "bad") as client:
        _, _, body = await ask(client, kind, stream=True)
    assert body.startswith(b"".join(events))
    name, data = body.removeprefix(b"".join(events)).decode().strip().split("\n")
    last = json.loads(data.removeprefix("data: "))
    if kind == "messages":
        assert (name, last["type"]) == ("event: error", "error")
        assert last["error"]["type"] in {"api_error", "timeout_error"}
    else:
        assert (name, last["type"]) == ("event: response.failed", "response.failed")
        assert last["response"]["id"] == "resp_1"
        assert last["response"]["status"] == "failed"
        assert last["response"]["error"]["message"]


async def test_refusals_come_in_anthropics_shape(upstream: Upstream, tmp_path: Path) -> None:
    """Ours and the upstream's; the SDK reads the type."""

    async def overloaded(exchange: Exchange) -> None:
        shaped = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        await exchange.whole(529, json.dumps(shaped).encode())

    upstream.scripts["bad"] = overloaded
    async with spoken("messages", upstream, tmp_path, "bad") as client:
        status, _, body = await ask(client, "messages")
        assert (status, json.loads(body)["error"]) == (529, {"type": "overloaded_error", "message": "Overloaded"})
        status, _, body = await ask(client, "messages", model="other")
        assert (status, json.loads(body)["error"]["type"]) == (404, "not_found_error")
        status, _, body = await ask(client, "messages", max_tokens=None)
        assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")
        assert "max_tokens" in json.loads(body)["error"]["message"]


async def test_a_key_may_come_as_anthropics_clients_send_it(upstream: Upstream, tmp_path: Path) -> None:
    """`x-api-key` is a key as good as a bearer token, and goes no further; the version header does."""
    upstream.scripts["good"] = answering("messages")
    place = endpoint("m", "good", upstream.url, "good", speaks=("anthropic_messages",))
    async with running(config_of(tmp_path, place), Secret("k" * 40)) as client:
        body = json.dumps(ASKED["messages"]).encode()
        assert (await client.post("/v1/messages", body))[0] == 401
        sent = {"x_api_key": "k" * 40, "anthropic_beta": "tools-x", "cookie": "a=b"}
        assert (await client.post("/v1/messages", body, **sent))[0] == 200
    headers = upstream.log[-1].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "tools-x"
    assert not {"x-api-key", "cookie", "authorization"} & set(headers)


async def test_tokens_are_counted_where_the_upstream_can(upstream: Upstream, tmp_path: Path) -> None:
    """The answer of `count_tokens` is the upstream's."""

    async def counts(exchange: Exchange) -> None:
        await exchange.whole(200, b'{"input_tokens":12}')

    upstream.scripts["good"] = counts
    place = endpoint("m", "good", upstream.url, "good", speaks=("anthropic_messages", "anthropic_count_tokens"))
    async with running(config_of(tmp_path, place)) as client:
        asked = {name: value for name, value in ASKED["messages"].items() if name != "max_tokens"}
        status, _, body = await client.post("/v1/messages/count_tokens", json.dumps(asked).encode())
        assert (status, body) == (200, b'{"input_tokens":12}')
    assert upstream.log[-1].path == "/v1/messages/count_tokens"


@pytest.mark.parametrize("version", [{}, {"anthropic-version": "2023-06-01"}])
async def test_models_are_listed_as_each_client_reads_them(client: Client, version: dict[str, str]) -> None:
    """All of them, and each by its name, slashes included; an unknown one is 404."""
    async with client.session.get(client.url + "/v1/models", headers=version) as answer:
        found = await answer.json()
    names = [row["id"] for row in found["data"]]
    assert names[0] == "auto"
    assert "one" in names
    assert found.get("object") == (None if version else "list")
    async with client.session.get(client.url + "/v1/models/one", headers=version) as answer:
        assert (await answer.json())["id"] == "one"
    async with client.session.get(client.url + "/v1/models/a/b", headers=version) as answer:
        assert answer.status == 404


def test_a_message_begins_once() -> None:
    """What an upstream begins again is not passed on: clients would begin anew with it."""
    watcher = MessagesWatcher()
    assert watcher.feed(ANTHROPIC[0] + ANTHROPIC[0] + b"".join(ANTHROPIC[1:])) == b"".join(ANTHROPIC[:-1])
    assert watcher.complete
