"""A large body reads as any JSON parser reads it, whatever its long texts hold."""

import asyncio
import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fw_gateway.endpoints import large
from fw_gateway.endpoints.request import parse_object
from fw_gateway.errors import BadRequest

PLAIN = "QUJD" * 100


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small examples take the way of large ones."""
    monkeypatch.setattr(large, "LARGE", 1)
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


async def test_others_have_their_turns_while_a_large_body_is_read() -> None:
    """However long it is, no more than a piece of it is looked at at a time."""
    body = orjson.dumps({"model": "one", "messages": [{"role": "user", "content": PLAIN * 10_000}]})
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    found = await large.parsed(body, parse_object)
    beside.cancel()
    assert found == orjson.loads(body)
    assert turns >= len(body) // 2**18


def test_a_member_that_stands_twice_around_a_large_text_is_refused() -> None:
    """What is cut out hides nothing."""
    body = b'{"model":"one","messages":[{"role":"user","content":"%b"}],"model":"two"}' % PLAIN.encode()
    with pytest.raises(BadRequest, match="`model` stands twice"):
        read(body)
