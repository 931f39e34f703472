"""OpenAI's responses API."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.faults.upstream.answers import CREATED, Answer, Event, Tool


def _usage(answer: Answer) -> Any:
    found = answer.counted()
    if not isinstance(found, dict) or "prompt_tokens" not in found:
        return found
    details = found.get("prompt_tokens_details") or {}
    return {
        "input_tokens": found["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": details.get("cached_tokens", 0)},
        "output_tokens": found["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": len(answer.reasoning)},
        "total_tokens": found.get("total_tokens"),
    }


def _message(answer: Answer, *, done: bool) -> dict[str, Any]:
    part = {"type": "output_text", "text": answer.text, "annotations": []}
    content = [part] if done else []
    status = "completed" if done else "in_progress"
    return {"id": "msg_fx_1", "type": "message", "role": "assistant", "status": status, "content": content}


def _tool(tool: Tool, *, done: bool) -> dict[str, Any]:
    return {
        "id": f"fc_{tool.id}",
        "type": "function_call",
        "call_id": tool.id,
        "name": tool.name,
        "arguments": tool.arguments if done else "",
        "status": "completed" if done else "in_progress",
    }


def _response(answer: Answer, status: str, *, done: bool) -> dict[str, Any]:
    output = [_tool(tool, done=True) for tool in answer.tools] or [_message(answer, done=True)]
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "model": answer.model,
        "output": output if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "usage": _usage(answer) if done else None,
    }


def _status(answer: Answer) -> str:
    return "incomplete" if answer.finish == "length" else "completed"


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one body."""
    return _response(answer, _status(answer), done=True)


def error_event(message: str, kind: str, code: str | None) -> Event:
    """A failure as an event of a stream."""
    failed = {"id": "resp_fx", "object": "response", "status": "failed", "output": [], "model": "fx"}
    data = {**failed, "error": {"code": code or kind, "message": message}}
    event = {"type": "response.failed", "sequence_number": 99, "response": data}
    return Event("error", event, "response.failed")


def _text(answer: Answer) -> Iterator[tuple[str, str, dict[str, Any]]]:
    place = {"item_id": "msg_fx_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    yield "start", "response.output_item.added", {"output_index": 0, "item": _message(answer, done=False)}
    yield "start", "response.content_part.added", {**place, "part": empty}
    for token in answer.tokens:
        yield "content", "response.output_text.delta", {**place, "delta": token, "logprobs": []}
    yield "other", "response.output_text.done", {**place, "text": answer.text, "logprobs": []}
    yield "other", "response.content_part.done", {**place, "part": {**empty, "text": answer.text}}
    yield "other", "response.output_item.done", {"output_index": 0, "item": _message(answer, done=True)}


def _calls(answer: Answer) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for index, tool in enumerate(answer.tools):
        place = {"item_id": f"fc_{tool.id}", "output_index": index}
        yield "start", "response.output_item.added", {"output_index": index, "item": _tool(tool, done=False)}
        for text in filter(None, (tool.arguments[:7], tool.arguments[7:])):
            yield "content", "response.function_call_arguments.delta", {**place, "delta": text}
        done = {**place, "name": tool.name, "arguments": tool.arguments}
        yield "other", "response.function_call_arguments.done", done
        yield "other", "response.output_item.done", {"output_index": index, "item": _tool(tool, done=True)}


def events(answer: Answer, usage: bool) -> list[Event]:
    """The answer as a stream; usage always comes with the end."""
    del usage
    number = count()

    def event(kind: str, name: str, data: dict[str, Any], counted: Any = None) -> Event:
        return Event(kind, {"type": name, "sequence_number": next(number), **data}, name, counted)

    begun = _response(answer, "in_progress", done=False)
    found = [event("start", f"response.{name}", {"response": begun}) for name in ("created", "in_progress")]
    found += [event(*part) for part in (_calls(answer) if answer.tools else _text(answer))]
    status = _status(answer)
    ended = _response(answer, status, done=True)
    return [*found, event("finish", f"response.{status}", {"response": ended}, answer.counted())]
