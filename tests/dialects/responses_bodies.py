"""Bodies of the Responses API as they come: requests, answers, with what is usual, what is rare, and what nobody knows yet."""

import base64
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

words = st.text(min_size=1, max_size=12)
name = st.text("abcdefghijklmnop_", min_size=1, max_size=8)
unknown = st.dictionaries(
    st.sampled_from(["x_new", "x_other"]), st.one_of(st.integers(0, 9), words, st.none()), max_size=1
)
data = st.binary(min_size=1, max_size=12).map(lambda raw: base64.b64encode(raw).decode())
plain = words.map(lambda text: base64.b64encode(text.encode()).decode())
status = st.sampled_from(["completed", "incomplete"])
breakpoints = st.just({"mode": "explicit"})


def record(needed: dict[str, Any], optional: dict[str, Any] | None = None, *, more: Strategy = unknown) -> Strategy:
    """An object with these members, the optional ones now and then, and what `more` adds."""
    fixed = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in needed.items()}
    return st.tuples(st.fixed_dictionaries(fixed, optional=optional or {}), more).map(
        lambda pair: {**pair[1], **pair[0]}
    )


nothing_more = st.just({})

input_text = record({"type": "input_text", "text": st.text(max_size=12)}, {"prompt_cache_breakpoint": breakpoints})
input_image = st.one_of(
    record(
        {
            "type": "input_image",
            "image_url": st.one_of(
                name.map("https://a.example/{}".format), data.map("data:image/png;base64,{}".format)
            ),
        },
        {"detail": st.sampled_from(["low", "high", "auto", None])},
    ),
    record({"type": "input_image", "file_id": name}, {"detail": st.sampled_from(["low", "high"])}),
)
input_file = st.one_of(
    record({"type": "input_file", "file_data": data.map("data:application/pdf;base64,{}".format), "filename": name}),
    record({"type": "input_file", "file_data": plain.map("data:text/plain;base64,{}".format), "filename": name}),
    record({"type": "input_file", "file_data": data.map("data:text/plain;base64,{}".format), "filename": name}),
    record({"type": "input_file", "file_data": data}),
    record({"type": "input_file", "file_id": name}),
    record({"type": "input_file", "file_url": name.map("https://a.example/{}".format)}, {"detail": st.just("low")}),
)
input_audio = record(
    {"type": "input_audio", "input_audio": st.fixed_dictionaries({"data": data, "format": st.just("wav")})}
)
new_part = record({"type": "input_smell", "smell": words})
told = st.lists(st.one_of(input_text, input_image, input_file, input_audio, new_part), max_size=3)

_token = {"token": st.sampled_from(["a", "é"]), "logprob": st.just(-0.5), "bytes": st.just([97])}
likely = st.lists(
    st.fixed_dictionaries({**_token, "top_logprobs": st.lists(st.fixed_dictionaries(_token), max_size=2)}),
    min_size=1,
    max_size=2,
)
"""What is said of tokens, in either of OpenAI's protocols."""

annotation = record(
    {
        "type": "url_citation",
        "url": name,
        "title": words,
        "start_index": st.integers(0, 9),
        "end_index": st.integers(0, 9),
    },
    more=nothing_more,
)
output_text = record(
    {"type": "output_text", "text": st.text(max_size=12), "annotations": st.lists(annotation, max_size=1)},
    {"logprobs": st.just([]) | likely},
).map(lambda part: part if part["text"] else {**part, "logprobs": []})
refusal = record({"type": "refusal", "refusal": words})

told_message = st.one_of(
    record({"role": st.sampled_from(["user", "system", "developer"]), "content": words}, {"type": st.just("message")}),
    record(
        {"role": st.sampled_from(["user", "system", "developer"]), "content": told},
        {"type": st.just("message"), "id": name, "status": status},
    ),
)
spoken_message = record(
    {
        "type": "message",
        "role": "assistant",
        "id": name.map("msg_{}".format),
        "status": status,
        "content": st.lists(st.one_of(output_text, refusal), max_size=3),
    },
    {"phase": st.sampled_from(["commentary", "final_answer"])},
)
easy_message = record(
    {"role": "assistant", "content": words}, {"type": st.just("message"), "phase": st.just("commentary")}
)
function_call = record(
    {
        "type": "function_call",
        "call_id": name,
        "name": name,
        "arguments": st.sampled_from(["", "{}", '{"a": 1}', '{"a']),
    },
    {"id": name.map("fc_{}".format), "status": status, "namespace": st.sampled_from(["x", None])},
)
summary = st.lists(words.map(lambda text: {"type": "summary_text", "text": text}), max_size=2)
thoughts = st.lists(words.map(lambda text: {"type": "reasoning_text", "text": text}), max_size=2)
reasoning = record(
    {"type": "reasoning", "summary": summary},
    {
        "id": name.map("rs_{}".format),
        "content": thoughts,
        "encrypted_content": st.one_of(words, st.none()),
        "status": status,
    },
)
reasoning_output = record(
    {"type": "reasoning", "summary": summary, "id": name.map("rs_{}".format)},
    {"content": thoughts, "encrypted_content": st.one_of(words, st.none())},
)
web_search = record(
    {"type": "web_search_call", "id": name, "status": "completed", "action": {"type": "search", "query": "q"}}
)
custom_call = record({"type": "custom_tool_call", "call_id": name, "name": name, "input": words}, {"id": name})
spoken_item = st.one_of(spoken_message, easy_message, function_call, reasoning, web_search, custom_call)
result = record(
    {"type": "function_call_output", "call_id": name, "output": st.one_of(st.text(max_size=12), told)},
    {"id": name, "status": status},
)
custom_result = record({"type": "custom_tool_call_output", "call_id": name, "output": words})
reference = record({"id": name}, {"type": st.just("item_reference")}, more=nothing_more)
item = st.one_of(told_message, spoken_item, result, custom_result, reference)

schema = st.sampled_from([None, {}, {"type": "object", "properties": {"a": {"type": "integer"}}}])
function = record(
    {"type": "function", "name": name, "parameters": schema},
    {"strict": st.sampled_from([True, False, None]), "description": words, "defer_loading": st.booleans()},
)
hosted = st.one_of(
    record({"type": "web_search"}),
    record({"type": "custom", "name": name}),
    record({"type": "mcp", "server_label": name}),
)
choice = st.one_of(
    st.sampled_from(["auto", "none", "required"]),
    st.builds(lambda n: {"type": "function", "name": n}, name),
    st.just({"type": "allowed_tools", "mode": "auto", "tools": []}),
    st.just({"type": "web_search_preview"}),
)
look = st.one_of(
    record({"type": st.sampled_from(["text", "json_object"])}, more=nothing_more),
    record(
        {"type": "json_schema", "name": name, "schema": {"type": "object"}},
        {"strict": st.sampled_from([True, None]), "description": words},
    ),
    record({"type": "grammar", "syntax": words}),
)
options: dict[str, Strategy] = {
    "instructions": st.one_of(words, st.none()),
    "tools": st.lists(st.one_of(function, hosted), max_size=3),
    "tool_choice": st.one_of(choice, st.none()),
    "parallel_tool_calls": st.one_of(st.booleans(), st.none()),
    "text": record({}, {"format": look, "verbosity": st.sampled_from(["low", "high", None])}),
    "max_output_tokens": st.one_of(st.integers(16, 99), st.none()),
    "temperature": st.one_of(st.floats(0, 2), st.integers(0, 2), st.none()),
    "top_p": st.one_of(st.floats(0, 1), st.none()),
    "stream": st.one_of(st.booleans(), st.none()),
    "reasoning": record(
        {}, {"effort": st.sampled_from(["none", "low", "xhigh", None]), "summary": st.sampled_from(["auto", None])}
    ),
    "user": words,
    "safety_identifier": words,
    "prompt_cache_key": words,
    "truncation": st.sampled_from(["auto", "disabled", None]),
    "include": st.lists(
        st.sampled_from(["reasoning.encrypted_content", "message.output_text.logprobs"]), max_size=2, unique=True
    ),
    "store": st.booleans(),
    "metadata": st.one_of(st.dictionaries(name, words, max_size=2), st.none()),
    "service_tier": st.sampled_from(["auto", "default", "flex", None]),
    "top_logprobs": st.integers(0, 5),
    "stream_options": st.just({"include_obfuscation": False}),
    "previous_response_id": name,
    "conversation": name,
    "background": st.booleans(),
}
requests = record({"model": name, "input": st.one_of(words, st.lists(item, max_size=6))}, options)

asked = requests.map(
    lambda body: (
        body
        if isinstance(body["input"], str)
        else {**body, "input": [{"role": "user", "content": "hi"}, *body["input"]]}
    )
)
"""Requests in which someone asks something."""

tokens = st.integers(0, 99)
usage = st.one_of(
    record(
        {
            "input_tokens": tokens,
            "input_tokens_details": record({"cached_tokens": tokens, "cache_write_tokens": tokens}),
            "output_tokens": tokens,
            "output_tokens_details": record({"reasoning_tokens": tokens}),
        }
    ).map(lambda found: {**found, "total_tokens": found["input_tokens"] + found["output_tokens"]}),
    record(
        {"input_tokens": tokens, "output_tokens": tokens, "total_tokens": tokens}, {"input_tokens_details": record({})}
    ),
)
ending = st.sampled_from(
    [
        {"status": "completed", "incomplete_details": None},
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        {"status": "incomplete", "incomplete_details": {"reason": "steered"}},
        {"status": "incomplete", "incomplete_details": None},
        {"status": "cancelled", "incomplete_details": None},
    ]
)
output_item = st.one_of(spoken_message, function_call, reasoning_output, web_search, custom_call)


def _apart(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """No two items have one id."""
    return [{**each, **({"id": f"{each['id']}{number}"} if "id" in each else {})} for number, each in enumerate(items)]


answers = st.tuples(
    record(
        {
            "id": name.map("resp_{}".format),
            "object": "response",
            "created_at": st.integers(0, 2**31),
            "model": name,
            "output": st.lists(output_item, max_size=4).map(_apart),
            "usage": st.one_of(usage, st.none()),
            "error": None,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        },
        {"temperature": st.just(1.0), "metadata": st.just({}), "instructions": st.one_of(words, st.none())},
    ),
    ending,
).map(lambda pair: pair[0] | pair[1])
usual_answers = answers.map(
    lambda body: {
        **body,
        "output": [
            item for item in body["output"] if item["type"] in {"function_call", "reasoning"} or item.get("content")
        ],
    }
)
"""Answers without items that other protocols have no word for."""
