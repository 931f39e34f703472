"""How likely tokens were is said alike in OpenAI's two protocols, whole and in streams; Messages cannot say it, which is named."""

from typing import Any

import orjson
import pytest

from fw_gateway.providers import form
from fw_gateway.providers.dialects import chat, messages, responses
from fw_gateway.providers.form import Losses
from fw_gateway.providers.gather import gathered, told
from fw_gateway.providers.sse import Frames


def token(text: str) -> dict[str, Any]:
    """One token, and another that might have been."""
    other = {"token": "x", "logprob": -2.5, "bytes": [120]}
    return {"token": text, "logprob": -0.5, "bytes": [*text.encode()], "top_logprobs": [other]}


HEL, LO = token("Hel"), token("lo")
ASKED = {"model": "m", "messages": [{"role": "user", "content": "?"}], "logprobs": True, "top_logprobs": 2}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
INCLUDE = ["message.output_text.logprobs"]
CHUNKS: list[dict[str, Any]] = [
    {"delta": {"role": "assistant", "content": ""}, "logprobs": None},
    {"delta": {"content": "Hel"}, "logprobs": {"content": [HEL], "refusal": None}},
    {"delta": {"content": "lo"}, "logprobs": {"content": [LO], "refusal": None}},
    {"delta": {}, "logprobs": None, "finish_reason": "stop"},
]


def spoken(chunks: list[dict[str, Any]]) -> list[form.Event]:
    """What a stream of chat says."""
    reader = chat.Reader()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [
        e for one in chunks for e in reader.feed("", orjson.dumps({**chunk, "choices": [{"index": 0, **one}]}).decode())
    ]


def payloads(raw: bytes) -> list[dict[str, Any]]:
    """The events of a written stream."""
    return [orjson.loads(data) for _, data in Frames().feed(raw) if data != "[DONE]"]


def test_what_is_asked_goes_over_and_comes_back() -> None:
    """`logprobs` is one of the things to `include`; the number beside it has the same name in both."""
    losses = Losses()
    wire = responses.write_request(chat.read_request(ASKED), losses)
    assert (wire["include"], wire["top_logprobs"]) == (INCLUDE, 2)
    back = chat.write_request(responses.read_request(wire), losses)
    assert (back["logprobs"], back["top_logprobs"]) == (True, 2)
    plain = responses.write_request(chat.read_request({**ASKED, "top_logprobs": 0}), losses)
    assert (plain["include"], "top_logprobs" in plain) == (INCLUDE, False)
    assert losses.names == []


@pytest.mark.parametrize("dialect", [chat, responses])
def test_messages_is_not_asked_and_it_is_named(dialect: Any) -> None:
    """By where the caller said it."""
    body = ASKED if dialect is chat else {"model": "m", "input": "?", "include": INCLUDE, "top_logprobs": 2}
    losses = Losses()
    wire = messages.write_request(dialect.read_request(body), losses)
    assert not {"logprobs", "top_logprobs", "include"} & wire.keys()
    assert losses.names == (["logprobs", "top_logprobs"] if dialect is chat else ["include", "top_logprobs"])


def test_other_words_of_include_are_named_still() -> None:
    """And nothing is asked twice on the way back to its own."""
    body = {"model": "m", "input": "?", "include": ["reasoning.encrypted_content", *INCLUDE], "top_logprobs": 0}
    asked, losses = responses.read_request(body), Losses()
    assert chat.write_request(asked, losses)["logprobs"] is True
    assert losses.names == ["include"]
    assert responses.write_request(asked, Losses()) == body


def test_a_stream_of_chat_is_told_token_by_token_in_responses() -> None:
    """With each delta, at the end of the text, and in the response itself."""
    writer = responses.Writer(chat.read_request(ASKED), seed="1", source=chat.name)
    events = payloads(b"".join([*map(writer.write, spoken(CHUNKS)), writer.end()]))
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [(event["delta"], event["logprobs"]) for event in deltas] == [("Hel", [HEL]), ("lo", [LO])]
    [done] = [event for event in events if event["type"] == "response.output_text.done"]
    assert done["logprobs"] == [HEL, LO]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [HEL, LO]
    assert writer.losses.names == []


def test_a_stream_of_responses_is_told_token_by_token_in_chat() -> None:
    """Said with the deltas, they are not said again at the end; said at the end alone, they are said then."""
    writer = responses.Writer(chat.read_request(ASKED), seed="1", source=chat.name)
    events = payloads(b"".join([*map(writer.write, spoken(CHUNKS)), writer.end()]))
    silent = [{**e, "logprobs": []} if e["type"] == "response.output_text.delta" else e for e in events]
    for stream in (events, silent, [events[-1]]):
        reader, out = responses.Reader(), chat.Writer(chat.read_request(ASKED), seed="2", source=responses.name)
        told_ = [each for event in stream for each in reader.feed("", orjson.dumps(event).decode())]
        chunks = payloads(b"".join([*map(out.write, told_), out.end()]))
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        said = [each for choice in choices for each in (choice.get("logprobs") or {"content": []})["content"]]
        assert said == [HEL, LO]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello"


def test_tokens_without_words_are_told_with_the_text_they_stand_by() -> None:
    """Before its first words and after its last; of a call alone, they are named."""
    special, end = token("<|s|>"), token("<|e|>")
    chunks = [{"delta": {"content": ""}, "logprobs": {"content": [special]}}, *CHUNKS[1:]]
    chunks[-1] = {**chunks[-1], "logprobs": {"content": [end]}}
    [choice] = gathered(spoken(chunks), chat.name).choices
    assert choice.parts == (form.Text("Hello", logprobs=[special, HEL, LO, end]),)
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chunks = [
        {"delta": {"tool_calls": [call]}, "logprobs": {"content": [HEL]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    ]
    writer = responses.Writer(None, seed="1", source=chat.name)
    for event in spoken(chunks):
        writer.write(event)
    assert writer.losses.names == ["content[0].logprobs"]


def test_a_whole_answer_goes_to_responses_and_back() -> None:
    """With every token. To Messages it goes without, and that is named, whole or streamed."""
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "stop",
        "logprobs": {"content": [HEL, LO], "refusal": None},
    }
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
    losses, answer = Losses(), chat.read_answer(body)
    assert chat.write_answer(answer, losses) == body
    wire = responses.write_answer(answer, losses, seed="1")
    assert wire["output"][0]["content"][0]["logprobs"] == [HEL, LO]
    assert chat.write_answer(responses.read_answer(wire), Losses())["choices"] == [choice]
    assert losses.names == []
    messages.write_answer(answer, losses)
    assert losses.names == ["choices[0].logprobs", "created"]
    writer = messages.Writer(None, seed="1", source=chat.name)
    text = b"".join(map(writer.write, told(answer)))
    assert writer.losses.names == ["logprobs"]
    assert b"Hello" in text
