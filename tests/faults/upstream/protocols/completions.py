"""OpenAI's legacy text completions, which vLLM still serves."""

from typing import Any

from tests.faults.upstream.answers import CREATED, Answer, Event


def _object(answer: Answer, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    found = {"id": answer.id, "object": "text_completion", "created": CREATED, "model": answer.model}
    return {**found, "choices": choices, **more}


def _choice(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one body."""
    usage = answer.counted()
    choices = [_choice(answer.text, index, answer.finish) for index in range(answer.choices)]
    return _object(answer, choices, **({} if usage is None else {"usage": usage}))


def events(answer: Answer, usage: bool) -> list[Event]:
    """The answer as a stream."""
    found = [
        Event("content", _object(answer, [_choice(token, index, None)]))
        for token in answer.tokens
        for index in range(answer.choices)
    ]
    found += [Event("finish", _object(answer, [_choice("", i, answer.finish)])) for i in range(answer.choices)]
    counted = answer.counted()
    if usage and counted is not None:
        found.append(Event("usage", _object(answer, [], usage=counted), usage=counted))
    return [*found, Event("done", "[DONE]")]
