"""What a text becomes: the tokens of BERT's own tokenizer, and 128 numbers that say what it is about."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from fw_gateway.catalog import text
from fw_policies.by_text import SIZE

EMBEDDING = text.embedding()
THEIRS = Tokenizer.from_str((text._folder() / "tokenizer.json").read_text(encoding="utf-8"))
THEIRS.no_truncation()
THEIRS.no_padding()
OLD = st.characters(
    min_codepoint=0x0,
    max_codepoint=0x2FFFF,
    exclude_categories=("Cn", "Cs", "Mn", "Mc", "Cf", "So", "Po", "Ps", "Pe", "Pd"),
)
"""Characters that all versions of Unicode agree on; the two know different ones of marks."""
KNOWN = st.sampled_from(
    list("abcXYZ019 .,:;!?'\"()[]{}-_/\\\t\n\u00e9\u00fc\u00df\u4e2d\u6587\u0130\u03a3\u200b\ufeff\u0301")
)


@settings(deadline=None, max_examples=300)
@given(st.text(st.one_of(OLD, KNOWN), max_size=60))
def test_tokens_are_those_of_the_model(said: str) -> None:
    assert EMBEDDING.tokens(said) == THEIRS.encode(said, add_special_tokens=False).ids


@pytest.mark.parametrize(
    "said",
    [
        "def f(x):\n    return x**2",
        "Où est l'hôtel?",
        "数学の問題",
        "x" * 101,
        "",
        "  ",
        "ΟΔΟΣ \x00 a\x0bb",
        "naïve—“quoted”",
    ],
)
def test_and_of_texts_as_people_write_them(said: str) -> None:
    assert EMBEDDING.tokens(said) == THEIRS.encode(said, add_special_tokens=False).ids


def test_alike_texts_are_near_and_the_small_numbers_say_the_same() -> None:
    said = ["How do I sort a list in Python?", "Sorting lists with Python", "What is the capital of France?"]
    units = text.embed(said)
    assert units[0] @ units[1] > units[0] @ units[2] + 0.2
    for one, unit in zip(said, units, strict=True):
        packed = np.frombuffer(EMBEDDING.packed(one), dtype=np.int8)
        assert len(packed) == SIZE
        assert packed @ unit / np.linalg.norm(packed) > 0.999


def test_a_text_without_a_token_is_nothing() -> None:
    assert EMBEDDING.packed(" \x00 ") == bytes(SIZE)
    assert not text.embed([""]).any()
    assert text.embed([]).shape == (0, SIZE)


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    long = "sort a list " * 1000
    assert EMBEDDING.packed(long + "Paris") == EMBEDDING.packed(long)


def test_the_digest_names_the_files_and_is_had_without_numpy() -> None:
    script = "import sys; from fw_gateway.catalog import text; print(text.digest(), 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [EMBEDDING.digest, "False"]
    assert len(bytes.fromhex(EMBEDDING.digest)) == 4


def test_what_callers_send_fills_no_memory() -> None:
    fresh = text.Embedding()
    for start in range(0, 60_000, 100):
        fresh.tokens(" ".join(f"w{number}" for number in range(start, start + 100)))
    fresh.tokens(
        "".join(chr(code) for code in range(0x20000, 0x20000 + 60_000) if unicodedata.category(chr(code)) != "Cs")
    )
    assert max(len(fresh.tokens._words), len(fresh.tokens._cleaned), len(fresh.tokens._parted)) <= text._REMEMBERED


USER = {"role": "user", "content": "asked"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": [USER, {"role": "assistant", "content": "x"}, {"role": "user", "content": "last"}]}, "last"),
        ({"messages": [USER, {"role": "tool", "content": "result"}]}, "asked"),
        ({"messages": [USER, {"role": "user", "content": [{"type": "tool_result", "content": "result"}]}]}, "asked"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}]}, "a\nb"),
        ({"input": "plain"}, "plain"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "item"}]}, {"type": "reasoning"}]}, "item"),
        ({"prompt": "Once upon"}, "Once upon"),
        ({"messages": [{"role": "system", "content": "rules"}]}, ""),
        ({"messages": [{"role": "user", "content": None}]}, ""),
        ({"messages": [{"role": "user", "content": 7}, "no message"]}, ""),
        ({"messages": 7}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_what_counts_is_what_the_user_said_last(fields: dict[str, object], said: str) -> None:
    assert text.said(fields) == said
