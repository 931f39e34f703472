"""What a call answers, and how it becomes the next question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, overload

import pydantic

from fwsdk._money import UNKNOWN, Money
from fwsdk.errors import InvalidReply

if TYPE_CHECKING:
    from fwsdk.types.chat import ChatCompletion, Message, ToolCall, Usage


class Conversation(Sequence[Mapping[str, Any]]):
    """Messages in order; never changed, only continued."""

    __slots__ = ("messages",)

    def __init__(self, messages: Sequence[Mapping[str, Any]] = ()) -> None:
        """`messages` in OpenAI's shape."""
        self.messages: tuple[Mapping[str, Any], ...] = tuple(messages)

    def then(self, content: str | Sequence[Mapping[str, Any]], *, role: str = "user") -> "Conversation":
        """The conversation and one message more (a text or content parts of `role`)."""
        return Conversation((*self.messages, {"role": role, "content": content}))

    def tool_result(self, call: "ToolCall | str", result: str) -> "Conversation":
        """The conversation and what a tool answered; `call` is the tool call or its id."""
        identifier = call if isinstance(call, str) else call.id
        return Conversation((*self.messages, {"role": "tool", "tool_call_id": identifier, "content": result}))

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> "Conversation": ...

    def __getitem__(self, index: int | slice) -> "Mapping[str, Any] | Conversation":
        return Conversation(self.messages[index]) if isinstance(index, slice) else self.messages[index]

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.messages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conversation) and self.messages == other.messages

    def __hash__(self) -> int:
        return hash(len(self.messages))

    def __repr__(self) -> str:
        return f"Conversation({len(self.messages)} messages)"


@dataclass(frozen=True)
class Reply:
    """A whole answer. Its text is `text` (and `str(reply)`)."""

    completion: "ChatCompletion"
    asked: Conversation
    """What it answers."""
    headers: Mapping[str, str] = field(default_factory=dict)
    cost: Money = UNKNOWN
    decision_id: str = ""
    """For `explain(decision=...)`."""
    budget_left: Money = UNKNOWN
    shape: "type[pydantic.BaseModel] | None" = None
    """The class given as `response_format`."""
    verified: bool | None = None
    """Whether it passed the checks of its step; False: none did, and this is the last. None: nobody asked this client."""

    @property
    def message(self) -> "Message":
        """What the model said."""
        return self.completion.choices[0].message

    @property
    def text(self) -> str:
        """The text; empty when the model only called tools."""
        return self.message.content or ""

    @property
    def tool_calls(self) -> "Sequence[ToolCall]":
        """Tools the model wants to be run."""
        return self.message.tool_calls or ()

    @property
    def finish_reason(self) -> str:
        """`stop`, `length`, `tool_calls`, ..."""
        return self.completion.choices[0].finish_reason or ""

    @property
    def usage(self) -> "Usage | None":
        """Tokens; None when the provider sent none."""
        return self.completion.usage

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.headers.get("x-fw-model") or self.completion.model

    @cached_property
    def parsed(self) -> Any:
        """The text as an instance of the class given as `response_format`.

        Raises:
            InvalidReply: the text is not such a thing.
            TypeError: no class was given.
        """
        if self.shape is None:
            raise TypeError("nothing to parse into; call with response_format=<a pydantic model>")
        try:
            return self.shape.model_validate_json(self.text)
        except pydantic.ValidationError as fault:
            raise InvalidReply(
                f"the answer is no {self.shape.__name__}: {fault.error_count()} problems ({self.finish_reason}).",
                hint="Raise max_tokens if finish_reason is length.",
            ) from fault

    @property
    def conversation(self) -> Conversation:
        """What was asked, and this answer."""
        said = self.message.model_dump(exclude_none=True, exclude_unset=True)
        said.setdefault("role", "assistant")
        said.setdefault("content", None)
        return Conversation((*self.asked.messages, said))

    def then(self, content: str | Sequence[Mapping[str, Any]], *, role: str = "user") -> Conversation:
        """The conversation, this answer, and the next thing to say."""
        return self.conversation.then(content, role=role)

    def tool_result(self, call: "ToolCall | str", result: str) -> Conversation:
        """The conversation, this answer, and what a tool answered."""
        return self.conversation.tool_result(call, result)

    def __str__(self) -> str:
        return self.text


Asked = str | Sequence[Mapping[str, Any]] | Conversation | Reply


def conversation(asked: Asked) -> Conversation:
    """A text, messages, a conversation or a reply, as a conversation.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(asked, str):
        return Conversation(({"role": "user", "content": asked},))
    if isinstance(asked, Conversation):
        return asked
    if isinstance(asked, Reply):
        return asked.conversation
    messages: Any = asked
    if isinstance(messages, Sequence) and all(isinstance(one, Mapping) for one in messages):
        return Conversation(messages)
    raise TypeError(f"ask with a text, a list of messages or a conversation, not with {type(messages).__name__}")


def response_format(shape: Any) -> "tuple[Any, type[pydantic.BaseModel] | None]":
    """`response_format` for the wire, and the class to parse into when one was given."""
    if not (isinstance(shape, type) and issubclass(shape, pydantic.BaseModel)):
        return shape, None
    schema = _closed(shape.model_json_schema())
    return {"type": "json_schema", "json_schema": {"name": shape.__name__, "schema": schema, "strict": True}}, shape


def _closed(schema: Any) -> Any:
    """The schema with every object closed and its fields required, as strict structured output wants it."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(one) for name, one in schema.items() if name != "default" or isinstance(one, dict)}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found["additionalProperties"] = False
        found["required"] = list(cast("dict[str, Any]", found["properties"]))
    return found
