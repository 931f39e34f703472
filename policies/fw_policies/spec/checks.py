"""Checks that an answer must pass: their names, as a policy and a plan spell them. `name` or `name(argument)`, nothing else."""

import json
import re
from typing import Any

BUILT_IN = ("json_schema", "tool_arguments", "regex", "not_empty")
"""What the gateway checks by itself. Any other name is a check of the client's own, which the SDK runs."""
ANY_CHECK = "*"
"""What a client says that runs whatever check its step asks for."""
MOST = 8
"""Checks that one step may name."""
_SPELT = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63})(?:\((.*)\))?", re.DOTALL)


def split(check: str) -> tuple[str, str]:
    """Name and argument of a check; the argument is empty when it has none.

    Raises:
        ValueError: it is no check.
    """
    found = _SPELT.fullmatch(check.strip())
    if found is None:
        raise ValueError(f"`{check}` is no check: write a name, like `tool_arguments`, or `regex(...)`")
    return found[1], found[2] or ""


def is_built_in(check: str) -> bool:
    """Whether the gateway itself can run it."""
    return split(check)[0] in BUILT_IN


def short(check: str) -> str:
    """A check for people: a long argument is cut."""
    name, argument = split(check)
    if not argument:
        return name
    return f"{name}({argument})" if len(argument) <= 24 else f"{name}(…)"


def spelt(value: Any) -> str:
    """The one spelling of a check as YAML has it: a text, or a mapping of one name to its argument.

    Raises:
        ValueError: it is no check, or its argument cannot be one.
    """
    if isinstance(value, dict) and len(value) == 1:
        name, argument = next(iter(value.items()))
        text = argument if isinstance(argument, str) else json.dumps(argument, sort_keys=True, ensure_ascii=False)
        value = f"{name}({text})"
    if not isinstance(value, str):
        raise ValueError(f"`{value}` is no check: write a name, like `tool_arguments`, or `regex(...)`")  # noqa: TRY004 - a person's mistake
    name, argument = split(value)
    _argued(name, argument)
    return f"{name}({argument})" if argument else name


def _argued(name: str, argument: str) -> None:
    if name == "regex":
        if not argument:
            raise ValueError("`regex` needs a pattern: write `regex(^OK)`")
        try:
            re.compile(argument)
        except re.error as fault:
            raise ValueError(f"`regex({argument})` is no regular expression: {fault}") from None
    elif name == "json_schema" and argument:
        try:
            schema = json.loads(argument)
        except ValueError:
            schema = None
        if not isinstance(schema, dict):
            raise ValueError("the schema of `json_schema` must be a mapping: write `{json_schema: {type: object}}`")
    elif argument:
        raise ValueError(f"`{name}` takes no argument")
