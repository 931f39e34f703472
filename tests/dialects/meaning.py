"""What two bodies of one protocol must have in common to mean the same, and where they differ.

`chat_request`, `messages_request`, `chat_answer` and `messages_answer` bring a body to one spelling out of several that the
protocol itself calls equal: a text and a list of one text, a default and nothing, two user's turns and one. Every object of a list
keeps the place it had as `PLACE`, so that what is lost can be found again by its name.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from fw_gateway.providers.wire import object_of

PLACE = "@"
Body = dict[str, Any]
_EMPTY = {"type": "object", "properties": {}}


def differences(before: Any, after: Any, lost: Sequence[str], at: str = "") -> list[str]:
    """Where `after` differs from `before`, but for what is named as `lost`: a lost element is missing or another, a lost member anything."""
    if _freed(at, lost):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        place = before.get(PLACE, at)
        return [
            found
            for name in {**before, **after}
            if name != PLACE
            for found in _member(before, after, name, lost, f"{place}.{name}" if place else name)
        ]
    if isinstance(before, list) and isinstance(after, list):
        return _lists(before, after, lost, at)
    return [] if before == after else [f"{at}: {before!r} became {after!r}"]


def _member(before: Body, after: Body, name: str, lost: Sequence[str], at: str) -> list[str]:
    if _freed(at, lost):
        return []
    if name in before and name in after:
        return differences(before[name], after[name], lost, at)
    if name in before:
        value = before[name]
        gone = isinstance(value, dict | list) and _all_lost(value, lost, at)
        return [] if gone else [f"{at}: {value!r} is gone"]
    return [f"{at}: {after[name]!r} came up"]


def _all_lost(value: Any, lost: Sequence[str], at: str) -> bool:
    """Whether everything that an object or a list had is named."""
    if isinstance(value, list):
        return all(_freed(_place(one, f"{at}[{i}]"), lost) for i, one in enumerate(value))
    return all(_freed(f"{at}.{name}", lost) for name in value if name != PLACE)


def _place(value: Any, usual: str) -> str:
    return str(value.get(PLACE, usual)) if isinstance(value, dict) else usual


def _lists(before: list[Any], after: list[Any], lost: Sequence[str], at: str) -> list[str]:
    """Elements in step; a lost one may be missing."""
    if not before:
        return [f"{at}: {one!r} came up" for one in after]
    place = _place(before[0], f"{at}[{len(before)}]")
    missing = _lists(before[1:], after, lost, at) if _freed(place, lost) else [f"{place}: {before[0]!r} is gone"]
    if not missing or not after:
        return missing
    kept = differences(before[0], after[0], lost, place) + _lists(before[1:], after[1:], lost, at)
    return kept if len(kept) <= len(missing) or not _freed(place, lost) else missing


def _freed(at: str, lost: Sequence[str]) -> bool:
    """Whether a place, or one around it, is named. A refusal may be told in words; what results show, by the user behind them."""
    if not at:
        return False
    for name in lost:
        holder = name.removesuffix(".refusal") if name.endswith(".refusal") else None
        around = name.split(".content[")[0] + ".content" if name.count(".content[") == 2 else None
        if any(at == free or at.startswith((f"{free}.", f"{free}[")) for free in (name, around) if free):
            return True
        if holder is not None and at == f"{holder}.content":
            return True
    return False


def _placed(found: Any, at: str) -> Any:
    """Every object in the lists of a body with the place where it stood; without nulls, except in what a tool is given."""
    if isinstance(found, dict):
        return {
            name: value if name == "input" else _placed(value, f"{at}.{name}" if at else name)
            for name, value in found.items()
            if value is not None
        }
    if isinstance(found, list):
        return [
            {**_placed(one, f"{at}[{i}]"), PLACE: f"{at}[{i}]"} if isinstance(one, dict) else one
            for i, one in enumerate(found)
        ]
    return found


def _without(found: Mapping[str, Any], *silent: tuple[str, Any]) -> Body:
    """An object without nulls and without members that say what is meant anyway."""
    return {
        name: value
        for name, value in found.items()
        if value is not None and not any(name == other and value == default for other, default in silent)
    }


def _texts(found: Any, at: str) -> list[Any]:
    """A content as a list of parts without empty texts."""
    if found is None or found == "":
        return []
    parts = [{"type": "text", "text": found, PLACE: at}] if isinstance(found, str) else found
    for part in parts:
        if "image_url" in part:
            part["image_url"] = _without(part["image_url"], ("detail", ""))
    return [part for part in parts if part.get("type") != "text" or part["text"]]


def _mark(message: Body) -> None:
    """A mark for the cache on a whole message is one on its last part."""
    content = message["content"]
    mark = message.pop("cache_control", None)
    if mark is not None and content and content[-1]["type"] != "input_smell":
        content[-1].setdefault("cache_control", mark)


def _chat_message(message: Body, *, answer: bool = False) -> Body:
    place = message[PLACE]
    message = _without(
        message, ("refusal", ""), ("name", ""), ("tool_calls", []), ("reasoning_content", ""), ("reasoning", "")
    )
    message["content"] = _texts(message.get("content"), f"{place}.content")
    message["role"] = "system" if message["role"] == "developer" else message["role"]
    if message["role"] not in {"tool", "function"}:
        _mark(message)
    refusal = message.pop("refusal", None)
    if refusal is not None:
        message["content"].append({"type": "refusal", "refusal": refusal, PLACE: f"{place}.refusal"})
    for call in message.get("tool_calls", []):
        _arguments(call)
    return _thoughts(message, answer=answer)


def _arguments(call: Body) -> None:
    found = object_of(call["function"]["arguments"]) if call.get("type") == "function" else None
    if found is not None:
        call["function"]["arguments"] = found


def _thoughts(message: Body, *, answer: bool) -> Body:
    """Thoughts as blocks, and their text only where it says something else."""
    text, also = message.get("reasoning_content"), message.get("reasoning")
    if "reasoning_content" not in message and isinstance(also, str) and also:
        text = message["reasoning_content"] = also
    if also == text:
        message.pop("reasoning", None)
    blocks = [_without(block, ("signature", "")) for block in message.pop("thinking_blocks", [])]
    blocks = [block for block in blocks if block.keys() != {"type", "thinking", PLACE} or block["thinking"]]
    if answer and len(blocks) == 1 and blocks[0].keys() == {"type", "thinking", PLACE}:
        message.setdefault("reasoning_content", blocks[0]["thinking"])
    elif blocks:
        message["thinking_blocks"] = blocks
    if text in {None, "".join(block.get("thinking", "") for block in blocks)}:
        message.pop("reasoning_content", None) if "thinking_blocks" in message else None
    return message


def chat_request(body: Body, lost: Sequence[str] = ()) -> Body:
    """A chat request in one spelling, without turns in which nothing is said or that are `lost`."""
    body = _placed(copy.deepcopy(body), "")
    body = _without(
        body, ("stream", False), ("n", 1), ("parallel_tool_calls", True), ("tool_choice", "auto"), ("tools", [])
    )
    body = _without(body, ("response_format", {"type": "text"}), ("logprobs", False), ("top_logprobs", 0))
    body.pop("stream_options", None)
    for later, former in (("max_completion_tokens", "max_tokens"), ("user", "safety_identifier")):
        if later not in body and former in body:
            body[later] = body.pop(former)
        elif body.get(former) == body.get(later):
            body.pop(former, None)
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    body.get("response_format", {}).get("json_schema", {}).pop("strict", None)  # the other protocol is always strict
    for tool in body.get("tools", []):
        if tool["type"] == "function":
            tool["function"] = {"parameters": _EMPTY, **_without(tool["function"])}
    messages = [_chat_message(message) for message in body["messages"] if message[PLACE] not in lost]
    silent = {"role", "content", "name", PLACE}
    messages = [
        found
        for i, found in enumerate(messages)
        if found["role"] != "assistant" or found["content"] or found.keys() - silent or i + 1 == len(messages)
    ]
    body["messages"] = _systems(messages)
    return body


def _systems(messages: list[Body]) -> list[Body]:
    """What the system says before anyone else is one message. Alone, it says its last words as a user."""
    count = next((i for i, found in enumerate(messages) if found["role"] != "system"), len(messages) - 1)
    if count <= 0:
        return messages
    first = {
        **messages[0],
        "role": "system",
        "content": [part for found in messages[:count] for part in found["content"]],
    }
    return [first, *messages[count:]]


def chat_answer(body: Body) -> Body:
    """A chat answer in one spelling."""
    body = _without(_placed(copy.deepcopy(body), ""))
    for choice in body["choices"]:
        choice["message"] = _chat_message({**choice["message"], PLACE: f"{choice[PLACE]}.message"}, answer=True)
        if choice.get("finish_reason") == "stop" and any(
            "function" in call for call in choice["message"].get("tool_calls", [])
        ):
            choice["finish_reason"] = "tool_calls"
    body["choices"] = [_without(choice) for choice in body["choices"]]
    if "usage" in body:
        body["usage"] = _usage(body["usage"])
    return body


def _usage(found: Body) -> Body:
    """Usage without what counts nothing."""
    found = {name: _usage(value) if isinstance(value, dict) else value for name, value in found.items()}
    return {name: value for name, value in found.items() if value not in ({}, None, 0) and name != "total_tokens"}


def messages_request(body: Body, lost: Sequence[str] = ()) -> Body:
    """A request of Messages in one spelling; turns that are `lost` as a whole part no others."""
    body = _placed(copy.deepcopy(body), "")
    body = _without(body, ("stream", False), ("tools", []))
    body["system"] = _texts(body.get("system"), "system")
    for name in ("metadata", "output_config"):
        body[name] = _without(body.get(name, {}))
    choice = _without(body.pop("tool_choice", {}), ("disable_parallel_tool_use", False))
    if choice not in ({}, {"type": "auto"}):
        body["tool_choice"] = choice
    body["tools"] = [_without(tool, ("type", "custom")) for tool in body.get("tools", [])]
    found: list[Body] = []
    for message in body["messages"]:
        if message[PLACE] in lost:
            continue
        content = [_block(block) for block in _texts(message["content"], f"{message[PLACE]}.content")]
        if found and found[-1]["role"] == message["role"]:
            found[-1]["content"] += content
        else:
            found.append({**message, "content": content})
    body["messages"] = found
    return body


def _block(block: Body) -> Body:
    if block["type"] == "tool_result":
        block = _without(block, ("is_error", False))
        block["content"] = _texts(block.get("content"), f"{block[PLACE]}.content")
    return block


def messages_answer(body: Body, lost: Sequence[str] = ()) -> Body:
    """An answer of Messages in one spelling; that a text has sources is left out, and what is `lost` parts no texts."""
    body = _without(_placed(copy.deepcopy(body), ""))
    found: list[Body] = []
    for block in _texts(body["content"], "content"):
        if block.get(PLACE) in lost:
            continue
        block.pop("citations", None)
        if found and found[-1]["type"] == block["type"] == "text":
            found[-1]["text"] += block["text"]
        elif block.get("thinking") != "" or block.get("signature"):
            found.append(block)
    body["content"] = found
    body["usage"] = _usage(body["usage"])
    return body
