"""`Idempotency-Key`: one question under one key is asked upstream once, and answered with the same bytes ever after."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.config import Secret
from fw_gateway.endpoints import once
from fw_gateway.ledger.answers import Answers, Claimed, Kept
from fw_gateway.values import Reply, Request
from tests.gateway.conftest import Client, config_of, endpoint, running, text_of, until
from tests.gateway.upstream import DONE, HELLO, ROLE, STOP, Exchange, Upstream, breaks, completion, status


async def ask(
    client: Client, key: str, fields: dict[str, Any] | None = None, **more: str
) -> tuple[int, dict[str, str], bytes]:
    """A chat under a key."""
    return await client.chat("one", fields=fields, idempotency_key=key, **more)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_second_answer_is_the_first_one_byte_for_byte(
    client: Client, upstream: Upstream, stream: bool
) -> None:
    """One attempt, one record; the replay says that it is one, and names the decision that was made."""
    code, first, body = await ask(client, "k", {"stream": stream})
    again, second, same = await ask(client, "k", {"stream": stream})
    assert (code, again, body) == (200, 200, same)
    assert "x-fw-idempotent-replay" not in first
    assert second["x-fw-idempotent-replay"] == "true"
    assert second["x-fw-decision-id"] == first["x-fw-decision-id"]
    assert second["content-type"] == first["content-type"]
    assert second["x-request-id"] != first["x-request-id"]
    assert len(upstream.log) == len(client.records) == 1


async def test_large_twins_are_asked_once_and_another_large_body_is_refused(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told apart by every byte, in a thread."""
    monkeypatch.setattr(once, "LARGE", 1000)
    text = "A" * 1000
    twins = await asyncio.gather(*(ask(client, "k", {"user": text}) for _ in range(3)))
    assert {(code, body) for code, _, body in twins} == {(200, completion())}
    assert len(upstream.log) == 1
    assert (await ask(client, "k", {"user": text[:-1] + "B"}))[0] == 422


async def test_without_the_header_every_request_is_its_own(client: Client, upstream: Upstream) -> None:
    """Also with the key by which draws are made equal."""
    for _ in range(2):
        assert (await client.chat("one", x_fw_idempotency_key="k"))[0] == 200
    assert len(upstream.log) == 2


@pytest.mark.parametrize("waiting", [False, True], ids=["answered", "under way"])
async def test_a_key_is_for_one_question(client: Client, upstream: Upstream, waiting: bool) -> None:
    """Another body, or another route: 422, at once, whether the first was answered or not."""
    done = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await done.wait()
        await exchange.whole(200, completion())

    upstream.scripts["one"] = slow
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(client, "k"))
        await upstream.arrived.wait()
        if not waiting:
            done.set()
            await first
        code, headers, body = await ask(client, "k", {"seed": 1})
        assert (code, json.loads(body)["error"]["code"]) == (422, "idempotency_key_reused")
        assert headers["x-should-retry"] == "false"
        chat = json.dumps({"model": "one", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        assert (await client.post("/v1/responses", chat, idempotency_key="k"))[0] == 422
        done.set()
    assert len(upstream.log) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_twins_wait_for_the_first(client: Client, upstream: Upstream, stream: bool) -> None:
    """Fifty at once are one attempt, and fifty equal answers."""
    done = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await done.wait()
        if stream:
            await exchange.events(ROLE, HELLO, STOP, DONE, b"")
        else:
            await exchange.whole(200, completion())

    upstream.scripts["one"] = slow
    async with asyncio.TaskGroup() as group:
        twins = [group.create_task(ask(client, "k", {"stream": stream})) for _ in range(50)]
        await until(lambda: client.gateway.limits.in_flight == 50)
        done.set()
    assert {twin.result()[0] for twin in twins} == {200}
    assert len({twin.result()[2] for twin in twins}) == 1
    assert len(upstream.log) == len(client.records) == 1


async def test_a_twin_waits_no_longer_than_it_may(client: Client, upstream: Upstream) -> None:
    """Then it is told that the first is still under way: 409, and when to come again."""
    done = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await done.wait()
        await exchange.whole(200, completion())

    upstream.scripts["one"] = slow
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(client, "k"))
        await upstream.arrived.wait()
        code, headers, body = await ask(client, "k", x_request_timeout="0.2")
        assert (code, json.loads(body)["error"]["code"]) == (409, "idempotency_in_progress")
        assert headers["retry-after"] == "1"
        done.set()
    assert first.result()[0] == 200
    assert len(upstream.log) == 1


FAILURES = {
    "an error": (status(500), False),
    "a refusal": (status(400), False),
    "a stream that breaks": (breaks("cut", ROLE, HELLO), True),
}


@pytest.mark.parametrize(("script", "stream"), FAILURES.values(), ids=FAILURES.keys())
async def test_what_failed_is_asked_again(client: Client, upstream: Upstream, script: Any, stream: bool) -> None:
    """Only answers that are whole are kept; a twin that waited for a failure is asked itself."""
    upstream.scripts["one"] = script
    await ask(client, "k", {"stream": stream})
    del upstream.scripts["one"]
    code, headers, body = await ask(client, "k", {"stream": stream})
    assert code == 200
    assert "x-fw-idempotent-replay" not in headers
    if stream:
        assert (
            text_of([line[6:] for line in body.decode().split("\n\n") if line and "[DONE]" not in line])
            == "Hello world"
        )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_first_that_leaves_makes_room_for_its_twin(client: Client, upstream: Upstream, stream: bool) -> None:
    """The twin is asked in its place."""
    block = [True]

    async def once_silent(exchange: Exchange) -> None:
        if block.pop() if block else False:
            if stream:
                await exchange.events(ROLE, HELLO)
            await exchange.gone.wait()
        elif stream:
            await exchange.events(ROLE, HELLO, STOP, DONE, b"")
        else:
            await exchange.whole(200, completion())

    upstream.scripts["one"] = once_silent
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(client, "k", {"stream": stream}))
        await upstream.arrived.wait()
        twin = group.create_task(ask(client, "k", {"stream": stream}))
        await until(lambda: client.gateway.limits.in_flight == 2)
        first.cancel()
    assert twin.result()[0] == 200
    assert len(upstream.log) == 2


async def test_keys_of_different_callers_never_meet(upstream: Upstream, tmp_path: Path) -> None:
    """What one API key has asked, another is not answered with; here they cannot even come in."""
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), Secret("right")) as client:
        assert (await ask(client, "k", authorization="Bearer right"))[0] == 200
        assert (await ask(client, "k", authorization="Bearer wrong"))[0] == 401
        assert (await ask(client, "k"))[0] == 401


async def test_a_key_that_is_none_is_refused(client: Client, upstream: Upstream) -> None:
    """By name."""
    for key in ("", "x" * 257, "a\tb"):
        code, _, body = await ask(client, key)
        assert (code, json.loads(body)["error"]["param"]) == (400, "Idempotency-Key")
    assert not upstream.log


async def test_on_disk_an_answer_outlives_the_process(upstream: Upstream, tmp_path: Path) -> None:
    """And is there for the other workers; the file is nobody else's to read."""
    config = config_of(tmp_path, endpoint("one", "here", upstream.url), idempotency="disk")
    answers = []
    for _ in range(2):
        async with running(config) as client:
            answers.append(await ask(client, "k", {"stream": True}))
            assert (await ask(client, "k", {"seed": 1}))[0] == 422
    assert answers[0][2] == answers[1][2]
    assert answers[1][1]["x-fw-idempotent-replay"] == "true"
    assert len(upstream.log) == 1
    assert (tmp_path / "state" / "answers.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_memory_is_bounded(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """An answer that is too long is not kept, and of those that are, the one that was not asked for the longest goes first."""
    monkeypatch.setattr(once.Once.__init__, "__kwdefaults__", {"cap": 1200 if stream else 600, "each": 1000})

    async def sized(exchange: Exchange) -> None:
        text = "x" * exchange.fields["seed"]
        if stream:
            await exchange.events(ROLE, HELLO.replace(b"Hello", text.encode()), STOP, DONE, b"")
        else:
            await exchange.whole(200, completion(text))

    upstream.scripts["one"] = sized
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url))) as client:
        for seed, key, asked in (
            (5000, "long", 1),
            (5000, "long", 2),
            (10, "a", 3),
            (11, "b", 4),
            (12, "c", 5),
            (10, "a", 6),
        ):
            assert (await ask(client, key, {"stream": stream, "seed": seed}))[0] == 200
            assert len(upstream.log) == asked
        assert (await ask(client, "a", {"stream": stream, "seed": 10}))[1]["x-fw-idempotent-replay"] == "true"


def test_of_two_processes_one_claims(tmp_path: Path) -> None:
    """The other learns what is asked; the claim ends with an answer, a release by its owner, or when its time is over."""
    first, second = Answers(tmp_path), Answers(tmp_path)
    assert first.claim("s", b"q", "one", (0, 10, 0)) is None
    assert second.claim("s", b"q", "two", (5, 15, 0)) == Claimed(b"q")
    assert second.claim("other", b"q", "two", (5, 15, 0)) is None
    first.renew(["another"], "one", 20)
    assert second.claim("t", b"q", "two", (5, 9, 0)) is None
    first.renew(["s", "t"], "one", 20)
    assert second.claim("t", b"q", "three", (9, 12, 0)) is None  # what one has not claimed, it cannot renew
    assert second.claim("s", b"q", "two", (19, 29, 0)) == Claimed(b"q")
    second.release("s", "two")  # not its own
    assert second.claim("s", b"q", "two", (19, 29, 0)) == Claimed(b"q")
    assert second.claim("s", b"q", "two", (20, 30, 0)) is None
    assert first.claim("s", b"q", "one", (21, 31, 0)) == Claimed(b"q")
    second.release("s", "two")
    assert first.claim("s", b"q", "one", (21, 31, 0)) is None
    kept = Kept(b"q", 22, 200, {"a": "b"}, b"answer")
    first.put("s", kept, 0)
    assert second.claim("s", b"q", "two", (23, 33, 0)) == kept
    assert second.claim("s", b"q", "two", (23, 33, 23)) is None  # too old to count
    first.close()
    second.close()


async def test_a_twin_in_another_process_is_asked_when_the_first_fails_and_waits_no_longer_than_it_may(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Two gateways of one state directory: 409 at its deadline, 422 for another question, and its own turn once the first gave up."""
    release = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await release.wait()
        await exchange.whole(
            *((400, b'{"error": {"message": "no"}}') if len(upstream.log) == 1 else (200, completion()))
        )

    upstream.scripts["one"] = slow
    config = config_of(tmp_path, endpoint("one", "here", upstream.url), idempotency="disk")
    async with running(config) as first, running(config) as second, asyncio.TaskGroup() as group:
        one = group.create_task(ask(first, "k"))
        await upstream.arrived.wait()
        assert (await ask(second, "k", {"seed": 1}))[0] == 422
        code, _, body = await ask(second, "k", x_request_timeout="0.3")
        assert (code, json.loads(body)["error"]["code"]) == (409, "idempotency_in_progress")
        two = group.create_task(ask(second, "k"))
        await asyncio.sleep(0.1)
        assert len(upstream.log) == 1
        release.set()
        assert (await one)[0] == 400
        assert (await two)[0] == 200
        assert len(upstream.log) == 2
        assert (await ask(first, "k"))[1]["x-fw-idempotent-replay"] == "true"
        assert len(upstream.log) == 2


async def test_a_stream_that_is_left_lets_its_upstream_go_before_its_claim_is_written_off() -> None:
    """A file that is slow to write must not keep the upstream at work; and the claim ends whatever closing brings."""
    said: list[str] = []

    class Store:
        def claim(self, *_: Any) -> None:
            return None

        def release(self, *_: Any) -> None:
            said.append("released")

    class Body:
        def __aiter__(self) -> "Body":
            return self

        async def __anext__(self) -> bytes:
            return b"more"

        async def aclose(self) -> None:
            said.append("closed")
            raise ConnectionResetError

    async def answered(_request: Request) -> Reply:
        return Reply(200, {}, Body())

    wrap = once.Once(60.0, Store())  # type: ignore[arg-type]
    request = Request("POST", "/v1/chat/completions", {"idempotency-key": "k"}, b"{}", "r", 0, time.monotonic())
    reply = await wrap(answered)(request)
    with pytest.raises(ConnectionResetError):
        await reply.body.aclose()  # type: ignore[union-attr]
    assert said == ["closed", "released"]
