"""JSON that is a trap, for a parser or for whoever reads after us: 400 with words, at next to no cost."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_gateway.endpoints.asking import KINDS
from fw_gateway.endpoints.calls import read
from fw_gateway.endpoints.duplicates import NAMES, duplicate
from fw_gateway.endpoints.request import parse_object
from fw_gateway.errors import BadRequest
from fw_gateway.providers.protocols import CHAT, COUNT, MESSAGES, RESPONSES
from fw_gateway.values import Request
from tests.gateway.conftest import Client
from tests.gateway.upstream import Upstream

START = b'{"model":"one","messages":[{"role":"user","content":"Hi"}]'
SECONDS = 0.02
"""CPU that a refusal may take."""

TRAPS = {
    "65 levels": (START + b',"x":' + b"[" * 64 + b"]" * 64 + b"}", "nested"),
    "100,000 levels": (START + b',"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}", "JSON"),
    "100,000 levels that never end": (START + b',"x":' + b'{"a":' * 10**5, "JSON"),
    "NaN": (START + b',"seed":NaN}', "NaN"),
    "Infinity": (START + b',"seed":-Infinity}', "Infinity"),
    "a lone high surrogate": (START + b',"user":"\\ud800"}', "JSON"),
    "a lone low surrogate": (START + b',"user":"\\udc00x"}', "JSON"),
    "a surrogate in UTF-8": (START + b',"user":"\xed\xa0\x80"}', "JSON"),
    "5,000 digits": (START + b',"seed":' + b"9" * 5000 + b"}", "JSON"),
    "5,000 digits and a fraction": (START + b',"seed":1.' + b"9" * 5000 + b"e999}", "JSON"),
    "2**64": (START + b',"max_tokens":18446744073709551616}', "beyond 64 bits"),
    "-2**63-1": (START + b',"n":-9223372036854775809}', "beyond 64 bits"),
    "10,001 messages": (b'{"model":"one","messages":[' + b'{"role":"user"},' * 10_000 + b"{}]}", "10,000"),
    "model twice": (START + b',"model":"two"}', "twice"),
    "model twice, once with spaces": (START + b',"model" \n : "two"}', "twice"),
    "messages twice": (START + b',"messages":[]}', "twice"),
    "stream twice": (START + b',"stream":true,"x":1,"stream":false}', "twice"),
    "max_tokens twice": (START + b',"max_tokens":1,"max_tokens":9}', "twice"),
    "model twice, and once inside": (START + b',"metadata":{"model":"x"},"model":"two"}', "twice"),
}


@pytest.mark.parametrize(("body", "words"), TRAPS.values(), ids=TRAPS.keys())
async def test_a_trap_is_refused(client: Client, upstream: Upstream, body: bytes, words: str) -> None:
    """400 that says what is wrong; nobody is asked."""
    code, headers, found = await client.post("/v1/chat/completions", body)
    error = json.loads(found)["error"]
    assert (code, error["type"]) == (400, "invalid_request_error")
    assert words in error["message"]
    assert headers["x-should-retry"] == "false"
    assert not upstream.log


def cost(act: Callable[[], object]) -> float:
    """Seconds of CPU; the least of three, for the first may pay for the garbage of other tests."""
    found = []
    for _ in range(3):
        start = time.thread_time()
        act()
        found.append(time.thread_time() - start)
    return min(found)


PARSED = {name: body for name, (body, _) in TRAPS.items() if "2**" not in name and "10,001" not in name}


@pytest.mark.parametrize("body", PARSED.values(), ids=PARSED.keys())
def test_refusing_costs_next_to_nothing(body: bytes) -> None:
    """At most 20 ms of CPU."""

    def refused() -> None:
        with pytest.raises(BadRequest):
            parse_object(body)

    assert cost(refused) < SECONDS


def test_ten_thousand_messages_cost_little() -> None:
    """The longest conversation that is accepted is read in as much."""
    body = b'{"model":"one","messages":[' + b'{"role":"user"},' * 9_999 + b'{"role":"user"}]}'
    assert cost(lambda: parse_object(body)) < SECONDS


MANY = b"[" + b'{"role":"user","content":"x"},' * 10_000 + b"{}]"
LONG = {
    CHAT: b'{"model":"one","model":"two","messages":' + MANY + b"}",
    MESSAGES: b'{"model":"one","model":"two","max_tokens":1,"messages":' + MANY + b"}",
    COUNT: b'{"model":"one","model":"two","messages":' + MANY + b"}",
    RESPONSES: b'{"model":"one","model":"two","input":' + MANY + b"}",
}


@pytest.mark.parametrize(("protocol", "body"), LONG.items(), ids=LONG.keys())
def test_a_conversation_that_is_too_long_is_refused_by_its_length_alone(protocol: str, body: bytes) -> None:
    """Nothing else is looked for in it (that its model stands twice is not found), in every protocol, for at most 20 ms of CPU."""
    asked = Request("POST", "/v1/x", {}, body, "id", 0, 0.0)

    def refused() -> None:
        with pytest.raises(BadRequest, match="more than 10,000 entries"):
            asyncio.run(read(asked, KINDS[protocol]))

    assert cost(refused) < SECONDS


HARMLESS = {
    "a member of a tool": START + b',"tools":[{"type":"function","function":{"name":"f","model":1}}]}',
    "a text": START + b',"user":"\\"model\\":\\"two\\""}',
    "a name that is a value": START + b',"user":"model"}',
    "unknown members": START + b',"x":1,"x":2}',
    "64 levels": START + b',"x":' + b"[" * 63 + b"]" * 63 + b"}",
    "numbers that nobody here reads": START + b',"seed":18446744073709551616}',
}


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS.keys())
async def test_what_only_looks_like_a_trap_is_served(client: Client, upstream: Upstream, body: bytes) -> None:
    """And reaches the upstream byte for byte."""
    assert (await client.post("/v1/chat/completions", body))[0] == 200
    assert upstream.log[0].body == body


names = st.sampled_from([*NAMES, "x", "role"])
values = st.recursive(
    st.one_of(st.integers(0, 9).map(str), st.sampled_from(['"model"', '"a\\"n\\":1"', "true"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: f"[{','.join(found)}]"),
        st.lists(st.tuples(names, inner), max_size=3).map(
            lambda found: "{" + ",".join(f'"{name}": {value}' for name, value in found) + "}"
        ),
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(names, values), max_size=5), st.sampled_from([":", " : ", ":\n"]))
@settings(max_examples=500, deadline=None)
def test_exactly_those_that_stand_twice_at_the_top_are_found(found: list[tuple[str, str]], colon: str) -> None:
    """Whatever stands twice, or once and elsewhere, below it."""
    body = ("{" + ",".join(f'"{name}"{colon}{value}' for name, value in found) + "}").encode()
    given_names = [name for name, _ in found]
    twice = {name for name in NAMES if given_names.count(name) > 1}
    assert bool(said := duplicate(body, json.loads(body))) == bool(twice)
    assert not said or said in twice
