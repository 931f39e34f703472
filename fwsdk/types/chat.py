"""`POST /v1/chat/completions`: the answer, in OpenAI's shape."""

import json
from typing import Any

from fwsdk.types.base import Wire


class FunctionCall(Wire):
    """Which function, with which arguments: JSON as text, as the model wrote it."""

    name: str = ""
    arguments: str = ""


class ToolCall(Wire):
    """The model asks for a tool to be run."""

    id: str = ""
    type: str = "function"
    function: FunctionCall = FunctionCall.model_construct(name="", arguments="")

    @property
    def name(self) -> str:
        """Of the function."""
        return self.function.name

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, read.

        Raises:
            ValueError: the model wrote something that is no JSON object.
        """
        found = json.loads(self.function.arguments or "{}")
        if not isinstance(found, dict):
            raise ValueError(  # noqa: TRY004 - the value is wrong, not the caller's type
                f"the arguments of {self.name} are no JSON object: {self.function.arguments!r}"
            )
        return found


class Message(Wire):
    """What the model said."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(Wire):
    """One answer and why it ended."""

    index: int = 0
    message: Message
    finish_reason: str | None = None


class Usage(Wire):
    """Tokens that were billed. `prompt_tokens` includes cached ones, `completion_tokens` includes reasoning."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatCompletion(Wire):
    """A whole answer."""

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice]
    usage: Usage | None = None
