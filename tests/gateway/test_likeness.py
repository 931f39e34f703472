"""Events that look alike are relayed unread, and nothing else is: a watcher that knows what is alike says what one says that reads them all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.providers.dialects.chat.relay import ChatWatcher
from fw_gateway.providers.dialects.messages.relay import MessagesWatcher
from fw_gateway.providers.likeness import Likeness
from fw_gateway.providers.watching import Watcher


def chat(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    """A chunk, as most servers write it."""
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
    return b"data: " + json.dumps({"id": "c", "choices": choices, **more}, separators=(",", ":")).encode() + b"\n\n"


def spoken(words: str) -> bytes:
    """An event of Messages."""
    payload = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}
    return b"event: content_block_delta\ndata: " + json.dumps(payload).encode() + b"\n\n"


WORDS = st.one_of(
    st.sampled_from(
        [
            "a",
            "",
            '"',
            "\\",
            '\\"',
            '"usage":{}',
            "[DONE]",
            'x","finish_reason":"stop',
            "\n\n",
            "event: error",
            ": ping",
        ]
    ),
    st.text(max_size=6),
)
SEVERAL = st.lists(WORDS, min_size=2, max_size=6)
CHAT = st.one_of(
    SEVERAL.map(lambda found: b"".join(chat({"content": words}) for words in found)),
    SEVERAL.map(lambda found: b"".join(chat({"reasoning_content": words}) for words in found)),
    WORDS.map(lambda words: chat({"content": words}, "stop")),
    WORDS.map(lambda words: chat({"content": words}, usage={"prompt_tokens": 1, "completion_tokens": 2})),
    st.just(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'),
    st.sampled_from(
        [b": ping\n\n", b"data: [DONE]\n\n", b'data: {"error":{"message":"no"}}\n\n', b"data: {broken\n\n"]
    ),
    WORDS.map(lambda words: chat({"content": words})[:-9] + b"\n\n"),
)
MESSAGES = st.one_of(
    SEVERAL.map(lambda found: b"".join(spoken(words) for words in found)),
    st.sampled_from([
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
        b": comment\n\n",
    ]),
)  # fmt: skip


def said(watcher: Watcher, stream: bytes, size: int) -> tuple[object, ...]:
    """All that a watcher lets go of, and all that it has learnt, of a stream that comes in reads of `size` bytes."""
    out = b"".join([watcher.feed(stream[at : at + size]) for at in range(0, len(stream), size)])
    seen = watcher.chunks, watcher.usage, watcher.reasons, watcher.error, watcher.problem, watcher.terminator
    return out, watcher.started, watcher.complete, *seen


def reads_all(watcher: Watcher) -> Watcher:
    """One that is shown nothing typical."""
    while watcher._likeness.willing:
        watcher._likeness.learn(b"")
    return watcher


@pytest.mark.parametrize("hide", [True, False])
@given(st.lists(CHAT, min_size=1, max_size=8), st.integers(1, 400) | st.just(10**6))
def test_a_chat_is_seen_alike_read_or_unread(hide: bool, events: list[bytes], size: int) -> None:
    stream = chat({"role": "assistant", "content": "Hi"}) + b"".join(events)
    unread, read = ChatWatcher(hide_usage=hide), reads_all(ChatWatcher(hide_usage=hide))
    assert said(unread, stream, size) == said(read, stream, size)


@given(st.lists(MESSAGES, min_size=1, max_size=8), st.integers(1, 400) | st.just(10**6))
def test_messages_are_seen_alike_read_or_unread(events: list[bytes], size: int) -> None:
    stream = spoken("Hi") + b"".join(events)
    assert said(MessagesWatcher(), stream, size) == said(reads_all(MessagesWatcher()), stream, size)


def test_a_run_of_tokens_is_counted_without_being_read() -> None:
    likeness, tokens = Likeness(), b"".join(chat({"content": f"{number}"}) for number in range(50))
    likeness.learn(chat({"content": "first"}))
    assert likeness.run(tokens + chat({"content": "x"}, "stop"), 0) == (len(tokens), 50)


@pytest.mark.parametrize("words", ['"', "\\", '\\"', 'a "quoted" word', "\\\\\\", "\n"])
def test_a_text_ends_where_json_says_so(words: str) -> None:
    likeness, tokens = Likeness(), chat({"content": words}) * 3
    likeness.learn(chat({"content": "first"}))
    assert likeness.run(tokens, 0) == (len(tokens), 3)


def test_an_event_broken_within_its_text_is_not_like_the_others() -> None:
    likeness, token = Likeness(), chat({"content": "word"})
    likeness.learn(token)
    assert likeness.run(token, 0) == (len(token), 1)
    assert likeness.run(token.replace(b"word", b"word\n\ndata: [DONE]\n\n"), 0) == (0, 0)


def test_a_stream_that_changes_its_shape_is_learnt_anew_a_few_times_and_then_read() -> None:
    likeness = Likeness()
    for number in range(100):
        likeness.learn(chat({"content": "x"}, created=number))
        if not likeness.willing:
            break
    assert number == 7


@pytest.mark.parametrize("odd", [b"\n", b"\n\n", b"\n\n\n"])
@pytest.mark.parametrize("before", [chat({"content": "x"}), b": ping\n\n", chat({}, "stop"), b"data: [DONE]\n\n"])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_ends_of_lines_too_many_between_events_are_relayed_and_say_nothing(
    before: bytes, odd: bytes, size: int
) -> None:
    stream = chat({"content": "Hi"}) * 2 + before + odd
    out, *_, problem, _ = said(ChatWatcher(hide_usage=False), stream, size)
    assert not problem
    assert out.startswith(chat({"content": "Hi"}) * 2)
