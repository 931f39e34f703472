"""Chat and Messages to the form and back: every body comes back as it was, and nothing of it is lost on the way."""

from typing import Any

from hypothesis import given, settings

from fw_gateway.providers.dialects import chat, messages
from fw_gateway.providers.form import Losses
from tests.dialects import chat_bodies, messages_bodies


@given(chat_bodies.requests)
@settings(max_examples=100, deadline=None)
def test_a_chat_request_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Read and written: the same members, known or not, and nothing lost."""
    losses = Losses()
    assert chat.write_request(chat.read_request(body), losses) == body
    assert losses.names == []


@given(messages_bodies.requests)
@settings(max_examples=100, deadline=None)
def test_a_messages_request_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Read and written: the same members, known or not, and nothing lost."""
    losses = Losses()
    assert messages.write_request(messages.read_request(body), losses) == body
    assert losses.names == []


@given(chat_bodies.answers)
@settings(max_examples=100, deadline=None)
def test_a_chat_answer_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Read and written: the same members, known or not, and nothing lost."""
    losses = Losses()
    assert chat.write_answer(chat.read_answer(body), losses) == body
    assert losses.names == []


@given(messages_bodies.answers)
@settings(max_examples=100, deadline=None)
def test_a_messages_answer_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Read and written: the same members, known or not, and nothing lost."""
    losses = Losses()
    assert messages.write_answer(messages.read_answer(body), losses) == body
    assert losses.names == []
