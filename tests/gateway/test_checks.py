"""What the built-in checks accept and reject."""

import json
from typing import Any

import pytest

from fw_gateway.providers.checks import rejected

SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
ASKED = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "refund",
        "parameters": {"type": "object", "properties": {"cents": {"type": "integer"}}, "required": ["cents"]},
    },
}


def says(text: str | None) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(name: str, arguments: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}],
    }


@pytest.mark.parametrize(
    ("check", "message", "fields", "why"),
    [
        ("not_empty", says("x"), {}, None),
        ("not_empty", says(" \n"), {}, "empty"),
        ("not_empty", says(None), {}, "empty"),
        ("not_empty", calls("refund", "{}"), {}, None),
        ("regex(^OK)", says("OK then"), {}, None),
        ("regex(^OK)", says("not OK"), {}, "does not match"),
        ("json_schema", says('{"label": "a"}'), ASKED, None),
        ("json_schema", says('{"label": "c"}'), ASKED, "/label: enum"),
        ("json_schema", says('{"label": "a"'), ASKED, "not JSON"),
        ("json_schema", says("{}"), ASKED, "required"),
        ("json_schema", says("free text"), {}, None),
        ("json_schema", says("free text"), {"response_format": {"type": "json_object"}}, "not JSON"),
        ("json_schema", says("[]"), {"response_format": {"type": "json_object"}}, "no JSON object"),
        ("json_schema", calls("refund", "{}"), ASKED, None),
        (f"json_schema({json.dumps(SCHEMA)})", says('{"label": "c"}'), {}, "/label: enum"),
        ('json_schema({"type": 5})', says("{}"), {}, "schema itself is not valid"),
        ('json_schema({"$ref": "http://127.0.0.1:9/x"})', says("{}"), {}, "refers to what is not in it"),
        ("tool_arguments", calls("refund", '{"cents": 5}'), {"tools": [TOOL]}, None),
        ("tool_arguments", calls("refund", '{"cents": "5"}'), {"tools": [TOOL]}, "/cents: type"),
        ("tool_arguments", calls("refund", '{"cents": 5'), {"tools": [TOOL]}, "not JSON"),
        ("tool_arguments", calls("refund", "[]"), {"tools": [TOOL]}, "no JSON object"),
        ("tool_arguments", calls("reward", "{}"), {"tools": [TOOL]}, "not offered"),
        ("tool_arguments", says("no call"), {"tools": [TOOL]}, None),
        ("tool_arguments", {"tool_calls": [{"function": {"name": []}}]}, {"tools": [TOOL]}, "not offered"),
        ("tool_arguments", {"tool_calls": [{"type": []}]}, {"tools": [{"function": {"name": {}}}, TOOL]}, None),
        ("patch_applies", says(""), {}, None),
    ],
)
def test_a_check_accepts_or_says_why_not(
    check: str, message: dict[str, Any], fields: dict[str, Any], why: str | None
) -> None:
    """The client's own checks are none of its business."""
    found = rejected([check], [message], fields)
    if why is None:
        assert found is None
    else:
        assert found is not None
        assert why in found[1]


def test_every_choice_must_pass_and_the_first_check_that_rejects_is_named() -> None:
    found = rejected(["not_empty", "regex(^OK)"], [says("OK"), says("no")], {})
    assert found == ("regex(^OK)", "the answer does not match")


def test_an_answer_without_choices_passes_nothing() -> None:
    assert rejected(["not_empty"], [], {}) == ("not_empty", "there is no answer")


def test_why_an_answer_was_rejected_repeats_nothing_of_the_answer() -> None:
    """It goes into traces: property names that the answer made up are left out, and so is every value."""
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    found = rejected([f"json_schema({json.dumps(schema)})"], [says('{"secret": "word"}')], {})
    assert found is not None
    assert "secret" not in found[1]
    assert "word" not in found[1]
