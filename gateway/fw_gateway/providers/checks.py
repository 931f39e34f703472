"""The built-in checks: what a whole chat answer must pass before it counts. Pure, but for the libraries it leans on.

A check says why it rejects, in words that hold nothing of the answer itself: they go into traces and the ledger.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from fw_policies.spec import checks

Message = Mapping[str, Any]
Fields = Mapping[str, Any]
MAX_TEXT = 2**20
"""Characters of an answer that a pattern is searched in."""


def rejected(names: Sequence[str], messages: Sequence[Message], fields: Fields) -> tuple[str, str] | None:
    """The first check that an answer does not pass, and why; None when it passes all that are built in.

    `messages` are those of all choices, `fields` the request's.
    """
    for check in names:
        name, argument = checks.split(check)
        if name not in _CHECKS:
            continue
        for message in messages:
            why = _CHECKS[name](message, fields, argument)
            if why:
                return checks.short(check), why
        if not messages:
            return checks.short(check), "there is no answer"
    return None


def _not_empty(message: Message, fields: Fields, argument: str) -> str:
    if message.get("tool_calls") or message.get("function_call") or _text(message).strip():
        return ""
    return "the answer is empty"


def _regex(message: Message, fields: Fields, argument: str) -> str:
    return "" if re.search(argument, _text(message)[:MAX_TEXT]) else "the answer does not match"


def _json_schema(message: Message, fields: Fields, argument: str) -> str:
    """A text must be JSON and fit the schema: the policy's, else the request's own. Tool calls instead of a text are not its concern."""
    text = _text(message)
    asked = fields.get("response_format")
    asked = asked if isinstance(asked, Mapping) else {}
    holder = asked.get("json_schema")
    schema = orjson.loads(argument) if argument else holder.get("schema") if isinstance(holder, Mapping) else None
    if schema is None and asked.get("type") != "json_object":
        return ""
    if not text and message.get("tool_calls"):
        return ""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "the answer is not JSON"
    if schema is None:
        return "" if isinstance(found, dict) else "the answer is no JSON object"
    return _misfit(schema, found)


def _tool_arguments(message: Message, fields: Fields, argument: str) -> str:
    """Each call names a tool of the request, with arguments that fit its parameters."""
    tools = fields.get("tools")
    known = {}
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            known[function.get("name")] = function.get("parameters")
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else (), 1):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            if isinstance(call, Mapping) and call.get("type") is not None and call["type"] != "function":
                continue  # a custom tool takes any text
            return f"call {number} names no function"
        name = function.get("name")
        if not isinstance(name, str) or name not in known:
            return f"call {number} names a tool that was not offered"
        why = _misfit_text(known[name], function.get("arguments"))
        if why:
            return f"the arguments of call {number} ({name}): {why}"
    return ""


def _misfit_text(schema: Any, text: Any) -> str:
    try:
        found = orjson.loads(text or "{}") if isinstance(text, str) else text
    except orjson.JSONDecodeError:
        return "not JSON"
    if not isinstance(found, dict):
        return "no JSON object"
    return _misfit(schema, found) if schema is not None else ""


def _misfit(schema: Any, found: Any) -> str:
    """Why a value does not fit a JSON schema: where, and by which keyword; never the value."""
    validator = _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    if isinstance(validator, str):
        return validator
    return validator(found)


@lru_cache(maxsize=256)
def _validator(text: bytes) -> Callable[[Any], str] | str:
    """Validates against a schema, or says why it is none. References are resolved within the schema alone: nothing is fetched."""
    from jsonschema import exceptions, validators  # type: ignore[import-untyped]  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    schema = orjson.loads(text)
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except exceptions.SchemaError:
        return "the schema itself is not valid"
    found = kind(schema, registry=Registry())

    def misfit(value: Any) -> str:
        try:
            error = exceptions.best_match(found.iter_errors(value))
        except (Unresolvable, RecursionError):
            return "the schema refers to what is not in it"
        if error is None:
            return ""
        where = "/".join(str(part) for part in error.absolute_path if isinstance(part, int) or part in _names(schema))
        return f"does not fit the schema at /{where}: {error.validator}"

    return misfit


def _names(schema: Any) -> set[str]:
    """Property names that the schema itself speaks of; others come from the answer, and are not repeated."""
    found: set[str] = set()
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            properties = item.get("properties")
            found.update(properties if isinstance(properties, dict) else ())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return found


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


_CHECKS: Mapping[str, Callable[[Message, Fields, str], str]] = {
    "not_empty": _not_empty,
    "regex": _regex,
    "json_schema": _json_schema,
    "tool_arguments": _tool_arguments,
}
