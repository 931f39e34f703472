"""A large body reads as any JSON parser reads it, whatever its long texts hold."""

import re

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fw_gateway.endpoints import large
from fw_gateway.endpoints.large import loads

PLAIN = "QUJD" * 100


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small examples take the way of large ones."""
    monkeypatch.setattr(large, "LARGE", 1)
    monkeypatch.setattr(large, "LONG", 3)


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
    assert loads(body) == orjson.loads(body)


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
        expected = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        expected = str(fault)
        with pytest.raises(orjson.JSONDecodeError, match=f"^{re.escape(expected)}$"):
            loads(body)
    else:
        assert loads(body) == expected
