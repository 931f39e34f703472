"""Thoughts that a Messages server did not sign stay behind when a conversation comes to it, and are named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.catalog.providers import providers
from fw_gateway.config import Endpoint
from fw_gateway.providers.dialects import messages
from fw_gateway.providers.dialects.messages.parts import signature_of
from fw_gateway.providers.form import Reasoning
from tests.gateway.conftest import config_of, endpoint, running
from tests.gateway.upstream import Exchange, Upstream, completion, ok
from tests.gateway.wires import ANTHROPIC_WHOLE, RESPONSE_WHOLE

GENUINE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYdsiRZqEs3jqXdYfwBF0a4ypTd8gW1TOwBCDzIuQ4NSoHMXqEs3jqXdYfwBF0a4ypTd8gW1="
REFUSED = (
    b'{"type":"error","error":{"type":"invalid_request_error","message":"Invalid `signature` in `thinking` block"}}'
)
MINE = {"type": "thinking", "thinking": "mine", "signature": GENUINE}
ID = "0b9f6e0d-3c1d-4a52-9b69-0f4c6c4a6a51"


async def checking(exchange: Exchange) -> None:
    """A server that refuses every thought but its own, and every turn that says nothing."""
    for turn in exchange.fields["messages"]:
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text"}]
        forged = [b for b in blocks if b["type"] == "thinking" and b.get("signature") != GENUINE]
        if forged or not blocks:
            await exchange.whole(400, REFUSED)
            return
    await exchange.whole(200, json.dumps(ANTHROPIC_WHOLE).encode())


def anthropic(upstream: Upstream, name: str = "claude") -> Endpoint:
    """A deployment of Anthropic's own, which checks."""
    speaks = ("anthropic_messages", "anthropic_count_tokens")
    place = replace(endpoint(name, "anthropic", upstream.url, "up", speaks=speaks), row=providers["anthropic"])
    upstream.scripts["up"] = checking
    return place


def turns(*thoughts: dict[str, Any], said: str = "Hello") -> list[dict[str, Any]]:
    """A conversation in which an assistant thought before it spoke."""
    words = [{"type": "text", "text": said}] if said else []
    user = {"role": "user", "content": "Hi"}
    return [user, {"role": "assistant", "content": [*thoughts, *words]}, {"role": "user", "content": "And?"}]


@pytest.mark.parametrize("first", ["openai_chat", "openai_responses"])
async def test_a_conversation_moves_from_another_provider_to_anthropic(
    first: str, upstream: Upstream, tmp_path: Path
) -> None:
    """What the first model thought is shown to the client, comes back with the next turn, and does not go on to Anthropic."""
    elsewhere = endpoint("local", "there", upstream.url, "first", speaks=(first,))
    thought = {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    whole = json.loads(completion())
    whole["choices"][0]["message"] = thought
    if first == "openai_responses":
        seal = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
        whole = {**RESPONSE_WHOLE, "output": [{**seal, "encrypted_content": "gAAA"}, *RESPONSE_WHOLE["output"]]}

    async def thinks(exchange: Exchange) -> None:
        await exchange.whole(200, json.dumps(whole).encode())

    upstream.scripts["first"] = thinks
    async with running(config_of(tmp_path, elsewhere, anthropic(upstream))) as client:
        user = {"role": "user", "content": "Hi"}
        body = json.dumps({"model": "local", "max_tokens": 9, "messages": [user]}).encode()
        _, _, answer = await client.post("/v1/messages", body)
        content = json.loads(answer)["content"]
        assert content[0]["thinking"] == "hm"
        more = {"role": "user", "content": "And?"}
        spoken = {"role": "assistant", "content": content}
        body = json.dumps({"model": "claude", "max_tokens": 9, "messages": [user, spoken, more]}).encode()
        code, headers, _ = await client.post("/v1/messages", body)
        await client.recorded()
        record = await client.recorded()
    assert code == 200
    *thoughts, text = content
    lost = [f"messages[1].content[{number}]" for number, _ in enumerate(thoughts)]
    assert headers["x-fw-lost"] == ", ".join(lost)
    assert list(record.attempts[0].lost) == lost
    assert upstream.log[-1].fields["messages"] == [user, {"role": "assistant", "content": [text]}, more]


@pytest.mark.parametrize("signature", ["", ID, ID.replace("-", "")])
async def test_what_nobody_signed_stays_behind(signature: str, upstream: Upstream, tmp_path: Path) -> None:
    """An id is no signature. Anthropic's own thoughts beside it arrive as they stood; a turn of nothing else goes with it."""
    forged = {"type": "thinking", "thinking": "hm", "signature": signature}
    async with running(config_of(tmp_path, anthropic(upstream))) as client:
        body = json.dumps({"model": "claude", "max_tokens": 9, "messages": turns(forged, MINE)}).encode()
        code, headers, _ = await client.post("/v1/messages", body)
        assert (code, headers["x-fw-lost"]) == (200, "messages[1].content[0]")
        assert upstream.log[-1].fields["messages"] == turns(MINE)
        body = json.dumps({"model": "claude", "max_tokens": 9, "messages": turns(forged, said="")}).encode()
        code, headers, _ = await client.post("/v1/messages", body)
        assert (code, headers["x-fw-lost"]) == (200, "messages[1].content[0]")
        assert len(upstream.log[-1].fields["messages"]) == 2


async def test_a_policy_may_refuse_that_loss(upstream: Upstream, tmp_path: Path) -> None:
    """`lossless: true` answers 400 and asks nobody."""
    policies = {"exact": {"baseline": "claude", "default": {"minimize": "cost", "lossless": True}}}
    forged = {"type": "thinking", "thinking": "hm", "signature": ""}
    async with running(config_of(tmp_path, anthropic(upstream), policies=policies)) as client:
        body = json.dumps({"model": "auto", "max_tokens": 9, "messages": turns(forged)}).encode()
        code, _, answer = await client.post("/v1/messages", body, x_fw_policy="exact")
    assert code == 400
    assert "messages[1].content[0]" in json.loads(answer)["error"]["message"]
    assert not upstream.log


async def test_a_server_that_checks_nothing_gets_its_thoughts_back(upstream: Upstream, tmp_path: Path) -> None:
    """vLLM signs with an id: bytes are relayed."""
    place = endpoint("m", "there", upstream.url, "m", speaks=("anthropic_messages",))
    upstream.scripts["m"] = ok
    body = json.dumps(
        {"model": "m", "max_tokens": 9, "messages": turns({"type": "thinking", "thinking": "hm", "signature": ID})}
    )
    async with running(config_of(tmp_path, place)) as client:
        _, headers, _ = await client.post("/v1/messages", body.encode())
    assert "x-fw-lost" not in headers
    assert upstream.log[-1].body == body.encode()


FOREIGN = Reasoning("hm", id="rs_1", sealed="gAAA", maker="openai_responses")
BAD = {"type": "thinking", "thinking": "no signature"}
BLOCKS = st.sampled_from(
    [
        MINE,
        {"type": "text", "text": 'a "thinking" \\ ] , é'},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"content": [1, [2, {"x": "}"}]]}},
        {"type": "thinking", "thinking": "[,]", "signature": ""},
        {"type": "thinking", "thinking": "no signature"},
        {"type": "thinking", "thinking": "hm", "signature": signature_of(FOREIGN, FOREIGN.maker)},
    ]
)


def test_a_large_conversation_is_the_same_value_for_value() -> None:
    """It is written anew; a turn in which nothing is left is not."""
    words = {"type": "text", "text": "x" * 2**16}
    content = [[words, BAD], [BAD], [words], "words"]
    fields = {"model": "m", "big": 1.5, "messages": [{"role": "user", "content": one} for one in content]}
    found, lost = messages.kept_from(json.dumps(fields).encode(), fields, strict=True)
    kept = [{"role": "user", "content": one} for one in ([words], [words], "words")]
    assert orjson.loads(found) == {**fields, "messages": kept}
    assert lost == ("messages[0].content[1]", "messages[1].content[0]")


@given(
    st.lists(st.lists(BLOCKS, max_size=4) | st.just("words"), max_size=4),
    st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", " : ")]),
)
def test_all_else_stands_as_it_stood(contents: list[Any], space: tuple[str, str]) -> None:
    """Blocks that are left are what they were, to the byte, and so is the rest of the body."""
    conversation = [{"role": "user", "content": content} for content in contents]
    fields = {"big": 10**30, "messages": conversation, "model": "m"}
    body = json.dumps(fields, separators=space).encode()
    found, lost = messages.kept_from(body, json.loads(body), strict=True)
    fine = [MINE["signature"]]
    left = [
        content
        if isinstance(content, str)
        else [block for block in content if block["type"] != "thinking" or block.get("signature") in fine]
        for content in contents
    ]
    expected = [
        {"role": "user", "content": now} for now, before in zip(left, contents, strict=True) if now or not before
    ]
    assert json.loads(found) == {**fields, "messages": expected}
    assert len(lost) == sum(len(a) - len(b) for a, b in zip(contents, left, strict=True))
    assert found == body or lost
    assert str(10**30).encode() in found
    assert orjson.loads(found.replace(str(10**30).encode(), b"1"))
