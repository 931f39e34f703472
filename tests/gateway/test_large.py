"""A large body reads as any JSON parser reads it, whatever its long texts hold."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fw_gateway.endpoints import calls, large, serving
from fw_gateway.endpoints.request import parse_object
from fw_gateway.errors import BadRequest
from tests.gateway.conftest import Client
from tests.gateway.upstream import Upstream

PLAIN = "QUJD" * 100


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small examples take the way of large ones."""
    monkeypatch.setattr(large, "LONG", 3)


def read(body: bytes) -> dict[str, Any]:
    """As a large body is."""
    return asyncio.run(large.parsed(body, parse_object))


texts = st.one_of(st.text(), st.just(PLAIN), st.text('"\\/a:\n{[', max_size=12), st.integers(0, 9).map("{}".format))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=20,
)


@pytest.mark.usefixtures("small_is_large")
@given(values, st.booleans())
@settings(max_examples=300, deadline=None)
def test_it_is_what_orjson_reads(value: object, indented: bool) -> None:
    """With escapes, with keys as long as texts, with spaces anywhere."""
    body = orjson.dumps({"a": PLAIN, "b": value, PLAIN: [PLAIN, "x"]}, option=orjson.OPT_INDENT_2 if indented else 0)
    assert read(body) == orjson.loads(body)


@given(st.binary(max_size=60), st.integers(0, 400))
@example(b"\x00", 30)
@example(b'\\"', 30)
@example(b"\xff", 30)
@settings(max_examples=300, deadline=None)
def test_what_is_no_json_stays_none(noise: bytes, place: int) -> None:
    """Wherever it is broken, the verdict and the words are the same."""
    body = orjson.dumps({"a": PLAIN})
    body = body[:place] + noise + body[place:]
    try:
        expected = parse_object(body)
    except BadRequest as fault:
        with pytest.raises(type(fault), match=f"^{re.escape(fault.message)}$"):
            read(body)
    else:
        assert read(body) == expected


SPACED = b'{"a":"%b","b":["%b"],"%b"%b:1}'


@pytest.mark.parametrize("space", [b"", b" ", b" \t\r\n" * 50], ids=["none", "one", "200"])
def test_a_long_name_is_no_text(space: bytes) -> None:
    """However far its colon is."""
    body = SPACED % (PLAIN.encode(), PLAIN.encode(), PLAIN.encode(), space)
    assert read(body) == orjson.loads(body)


@pytest.mark.parametrize("backslashes", [1, 2, 3, 63, 64, 65, 66, 1000])
def test_a_text_that_ends_in_backslashes_ends_where_it_does(backslashes: int) -> None:
    """Also where there are too many to be counted."""
    body = orjson.dumps({"a": PLAIN, "b": "\\" * backslashes, "c": PLAIN, "d": "\\" * backslashes + '"', "e": [PLAIN]})
    assert read(body) == orjson.loads(body)


MIB = 2**20
BODIES = {
    "an image": b'{"model":"one","messages":[{"role":"user","content":"%b"}]}' % (b"QUJD" * (2 * MIB)),
    "backslashes": b'{"model":"one","x":"%b"}' % (b"\\\\" * (4 * MIB)),
    "marks that are escaped": b'{"model":"one","x":["%b","y"]}' % b'","'.join([b'\\"' * 9_990] * 400),
}
"""Of 8 MB each."""


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_others_have_their_turns_while_a_large_body_is_looked_at(body: bytes) -> None:
    """However it is made, no step takes much longer than parsing all of it at once does; an image is looked at a piece at a time."""
    began = time.thread_time()
    expected = parse_object(body)
    once, gaps, last = time.thread_time() - began, [0.0], time.thread_time()

    async def other() -> None:
        nonlocal last
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            gaps.append(now - last)
            last = now

    beside = asyncio.create_task(other())
    found = await large.parsed(body, parse_object)
    gaps.append(time.thread_time() - last)
    beside.cancel()
    assert found == expected
    assert max(gaps) < 3 * once + 0.02
    if body is BODIES["an image"]:
        assert len(gaps) > len(body) // 2**18


async def test_a_large_request_goes_that_way(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a socket: it arrives as it was sent, but for its model."""
    monkeypatch.setattr(serving, "LARGE", 1000)
    asked = []
    parsed = large.parsed

    async def noted(body: bytes, parse: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
        asked.append(len(body))
        return await parsed(body, parse)

    monkeypatch.setattr(calls, "parsed", noted)
    assert (await client.chat("one"))[0] == 200
    assert asked == []
    assert (await client.chat("pair", fields={"user": PLAIN * 10}))[0] == 200
    assert len(asked) == 1
    assert upstream.log[-1].fields == {
        "model": "bad", "messages": [{"role": "user", "content": "Hi"}], "user": PLAIN * 10
    }  # fmt: skip


def test_a_member_that_stands_twice_around_a_large_text_is_refused() -> None:
    """What is cut out hides nothing."""
    body = b'{"model":"one","messages":[{"role":"user","content":"%b"}],"model":"two"}' % PLAIN.encode()
    with pytest.raises(BadRequest, match="`model` stands twice"):
        read(body)
