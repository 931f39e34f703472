"""The Responses protocol keeps what a body says, on its way to the form and back."""

from typing import Any

from hypothesis import given, settings

from fw_gateway.providers import form
from fw_gateway.providers.dialects import responses
from tests.dialects import responses_bodies as bodies


@given(bodies.requests)
@settings(max_examples=500, deadline=None)
def test_a_request_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Member by member, unknown ones and nulls included; nothing is lost on the way to oneself."""
    losses = form.Losses()
    assert responses.write_request(responses.read_request(body), losses) == body
    assert not losses.names


@given(bodies.answers)
@settings(max_examples=300, deadline=None)
def test_an_answer_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Ids, echoes and usage included."""
    losses = form.Losses()
    assert responses.write_answer(responses.read_answer(body), losses) == body
    assert not losses.names
