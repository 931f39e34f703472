"""OpenAI's chat completions."""

from collections.abc import Iterator
from typing import Any

from tests.faults.upstream.answers import CREATED, Answer, Event, Tool


def error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_event(message: str, kind: str, code: str | None) -> Event:
    """An error as an event of a stream."""
    return Event("error", error(message, kind, code))


def call(tool: Tool) -> dict[str, Any]:
    """A tool call, whole."""
    return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}


def _logprob(token: str) -> dict[str, Any]:
    entry = {"token": token, "logprob": -0.25, "bytes": list(token.encode())}
    return {"content": [{**entry, "top_logprobs": [dict(entry)]}]}


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one body."""
    message: dict[str, Any] = {"role": "assistant", "content": None if answer.tools else answer.text}
    if answer.tools:
        message["tool_calls"] = [call(tool) for tool in answer.tools]
    if answer.reasoning:
        message["reasoning_content"] = "".join(answer.reasoning)
    if answer.refusal:
        message["refusal"] = "".join(answer.refusal)
    choices = []
    for index in range(answer.choices):
        choice: dict[str, Any] = {"index": index, "message": message, "finish_reason": answer.finish}
        if answer.logprobs:
            choice["logprobs"] = {"content": [_logprob(token)["content"][0] for token in answer.tokens]}
        choices.append(choice)
    found = {"id": answer.id, "object": "chat.completion", "created": CREATED, "model": answer.model}
    usage = answer.counted()
    return {**found, "choices": choices, **({} if usage is None else {"usage": usage})}


def chunk(answer: Answer, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One chunk of a stream."""
    found = {"id": answer.id, "object": "chat.completion.chunk", "created": CREATED, "model": answer.model}
    return {**found, "choices": choices, **more}


def delta(answer: Answer, part: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> Any:
    """One chunk with one choice."""
    return chunk(answer, [{"index": index, "delta": part, "logprobs": None, "finish_reason": finish, **more}])


def _body(answer: Answer, index: int) -> Iterator[Event]:
    parts = [{"reasoning_content": text} for text in answer.reasoning]
    parts += [{"refusal": text} for text in answer.refusal]
    if not answer.tools and not answer.refusal:
        parts += [{"content": text} for text in answer.tokens]
    for number, part in enumerate(parts):
        more = {"logprobs": _logprob(part["content"])} if answer.logprobs and "content" in part else {}
        late = {"role": "assistant"} if answer.role == "late" and not number else {}
        yield Event("content", delta(answer, {**late, **part}, index, **more))
    for place, tool in enumerate(answer.tools):
        first = {"index": place, **call(Tool(tool.id, tool.name, ""))}
        yield Event("content", delta(answer, {"tool_calls": [first]}, index))
        half = len(tool.arguments) // 2
        for text in filter(None, (tool.arguments[:half], tool.arguments[half:])):
            part = {"index": place, "function": {"arguments": text}}
            yield Event("content", delta(answer, {"tool_calls": [part]}, index))


def events(answer: Answer, usage: bool) -> list[Event]:
    """The answer as a stream; `usage`: with a chunk of usage at the end."""
    begins = range(answer.choices if answer.role == "first" else 0)
    found = [Event("start", delta(answer, {"role": "assistant", "content": ""}, index)) for index in begins]
    bodies = [list(_body(answer, index)) for index in range(answer.choices)]
    for turn in range(max(map(len, bodies))):
        found += [body[turn] for body in bodies if turn < len(body)]
    for index in range(answer.choices):
        found.append(Event("finish", delta(answer, {}, index, answer.finish)))
    counted = answer.counted()
    if usage and counted is not None:
        found.append(Event("usage", chunk(answer, [], usage=counted), usage=counted))
    return [*found, Event("done", "[DONE]")]
