"""A request or an answer of Responses that goes through another protocol means the same behind it, but for what was named."""

from typing import Any

from hypothesis import given, settings

from fw_gateway.providers.dialects import chat, messages, responses
from fw_gateway.providers.form import Losses
from tests.dialects import meaning, responses_meaning
from tests.dialects import responses_bodies as bodies


def through(body: dict[str, Any], other: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """A request behind another protocol, and what was named as lost on the way there.

    Back here, thoughts that came without a seal are nobody's: they are named there, and free here.
    """
    there, back = Losses(), Losses()
    wire = other.write_request(responses.read_request(body), there, **options)
    found = responses.write_request(other.read_request(wire), back)
    items = body["input"] if isinstance(body["input"], list) else []
    thoughts = [f"input[{n}]" for n, item in enumerate(items) if item.get("type") == "reasoning"] if back.names else []
    return found, [*responses_meaning.places(there.names, body), *thoughts]


@given(bodies.asked)
@settings(max_examples=150, deadline=None)
def test_a_request_means_the_same_behind_chat(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    found, lost = through(body, chat, beyond=chat.BEYOND)
    before, after = (responses_meaning.request(one, join=True) for one in (body, found))
    assert meaning.differences(before, after, lost) == []


@given(bodies.asked)
@settings(max_examples=150, deadline=None)
def test_a_request_means_the_same_behind_messages(body: dict[str, Any]) -> None:
    """All differences are at places that were named; that protocol has always a limit."""
    found, lost = through(body, messages, system_anywhere=True)
    lost = [*lost, *(["max_output_tokens"] if body.get("max_output_tokens") is None else [])]
    assert meaning.differences(responses_meaning.request(body), responses_meaning.request(found), lost) == []
