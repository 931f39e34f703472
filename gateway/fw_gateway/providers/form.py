"""What a model is asked and what it says, whichever protocol it travels in: the values between two dialects. Pure.

A dialect reads its own wire into these and writes these as its own wire. What only one protocol has a word for is kept, by the
name of its dialect, and either finds its way back or is named as lost: nothing disappears without being told.

`at`, wherever it stands, is the place in the body that a thing was read from, e.g. `messages[2].content[0]` (empty: nowhere): what is
lost is named by it. Two things that differ in it alone are equal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fw_gateway.values import Usage

Extra = Mapping[str, Any]
"""Members that the form has no word for, as they stood."""


class _Nothing(Mapping[str, Any]):
    """No members. Unlike MappingProxyType, it may be a field's default on Python 3.11."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0


NONE: Extra = _Nothing()


@dataclass(frozen=True, slots=True)
class Spelt:
    """In `extra`: how its dialect spelt something that the form says already, or that says nothing. No loss to another dialect."""

    value: Any


@dataclass(frozen=True, slots=True)
class Rest:
    """In `extra`: what is left of an object whose other members the form says already (itself an `extra`)."""

    members: Extra = NONE


Role = Literal["system", "developer", "user", "assistant", "tool"]
Reason = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause", "context", ""]
"""Why a choice finished; "" while it has not, or for a reason that the form has no word for (then `Finish.raw` says it)."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str
    extra: Extra = NONE
    at: str = field(default="", compare=False)
    logprobs: Sequence[Any] | None = None
    """How likely each token was: `{token, logprob, bytes, top_logprobs}`, as OpenAI's protocols have it."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: by address, by a provider's file id, or as it is in base64."""

    url: str = ""
    data: str = ""
    media: str = ""
    """Media type of `data`, e.g. `image/png`."""
    file: str = ""
    detail: str = ""
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class File:
    """A document: by address, by a provider's file id, as base64, or as plain text (`media` text/plain)."""

    url: str = ""
    data: str = ""
    media: str = ""
    file: str = ""
    name: str = ""
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound in base64."""

    data: str
    format: str = ""
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought. Signature and sealed thoughts are opaque and go back to the model that made them untouched."""

    text: str = ""
    signature: str = ""
    sealed: str = ""
    """Thoughts that only the provider can read (Anthropic's redacted thinking, OpenAI's encrypted content)."""
    id: str = ""
    summary: bool = False
    """`text` is a summary of the thoughts, not the thoughts."""
    maker: str = ""
    """Dialect of the provider whose signature or seal this is; "": that of the request or answer it stands in."""
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called. `arguments` is JSON as text, as the model wrote it."""

    id: str
    name: str
    arguments: str
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a function gave."""

    call: str
    """Id of the ToolCall."""
    parts: tuple["Part", ...] | str
    """A text that stood alone stays a text."""
    failed: bool = False
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the model will not."""

    text: str
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Opaque:
    """A part that only `dialect` knows: as it stood."""

    dialect: str
    value: Any
    at: str = field(default="", compare=False)


Part = Text | Image | File | Audio | Reasoning | ToolCall | ToolResult | Refusal | Opaque


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `parts` is a text when the protocol had one text there and nothing else."""

    role: Role
    parts: tuple[Part, ...] | str
    name: str = ""
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called; `schema` of its arguments as it stood (None: none was given)."""

    name: str
    description: str | None = None
    schema: Any = None
    strict: bool | None = None
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Choose:
    """Which tools may be called: `auto`, `none`, `required`, or one by its name."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """How the answer is to look: `text`, any JSON object, or JSON by a schema."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema: Any = None
    strict: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. None: not said, so that the upstream's own default holds."""

    dialect: str
    """Whose words `extra` are."""
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool | Opaque, ...] = ()
    """Opaque: a tool that the provider itself runs."""
    choose: Choose | None = None
    parallel: bool | None = None
    """Whether several tools may be called at once."""
    format: Format | None = None
    max_output: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] | str | None = None
    """A text that stood alone stays a text."""
    n: int | None = None
    logprobs: int | None = None
    """How many of the likeliest tokens are to be told at each place, beside how likely its own was."""
    seed: int | None = None
    stream: bool = False
    effort: str | None = None
    """Reasoning effort by name (minimal, low, medium, high, ...)."""
    thinking: int | None = None
    """Tokens that may be thought with; 0: none at all."""
    adaptive: bool = False
    """The model is asked to decide itself when and how much to think."""
    user: str | None = None
    """The end user's opaque id."""
    tier: Literal["auto", "standard"] | None = None
    """Capacity that may be used: whatever the account has, or the standard one alone. Other tiers are words of one provider."""
    extra: Extra = NONE
    """Every other member of the body, as it stood."""
    names: Mapping[str, str] = field(default=NONE, compare=False)
    """Where the body said a field of the form, if it has another name there: `{"max_output": "max_tokens"}`."""

    def where(self, field: str) -> str:
        """The place in the body where a field of this form was said."""
        return self.names.get(field, field)


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer."""

    parts: tuple[Part, ...]
    reason: Reason
    raw: str = ""
    """The reason in its own protocol's words."""
    sequence: str | None = None
    """The stop sequence that was met."""
    extra: Extra = NONE
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    dialect: str
    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int | None = None
    """Unix seconds."""
    extra: Extra = NONE


@dataclass(frozen=True, slots=True)
class Begin:
    """A stream begins. Not content."""

    id: str = ""
    model: str = ""
    created: int | None = None
    usage: Usage | None = None
    """What the provider says of the input at the beginning."""


@dataclass(frozen=True, slots=True)
class Open:
    """A part begins: a ToolCall with its id and name, a Text, a Refusal, thoughts; `More` goes on where it ends.

    `index` counts within its choice. Parts may be open side by side.
    """

    index: int
    part: Part
    choice: int = 0


@dataclass(frozen=True, slots=True)
class More:
    """More of an open part: words, JSON of arguments, thoughts, or (`signature`) the seal of thoughts."""

    index: int
    text: str = ""
    signature: str = ""
    choice: int = 0
    extra: Extra = NONE
    """More members of the part; a list goes on where the former ended (the citations of a text). What the form has a field for goes by
    the name of the field (`maker` of thoughts).
    """


@dataclass(frozen=True, slots=True)
class Close:
    """A part is whole."""

    index: int
    choice: int = 0
    extra: Extra = NONE
    """Members of the part that are known only now, as those of `More`."""


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice is whole: the semantic terminal marker. `usage` where the protocol sends it along."""

    reason: Reason
    raw: str = ""
    sequence: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """Usage; a later one replaces what it states, the rest stays."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Erred:
    """The provider's own error in band. `kind` and `code` in its own words."""

    message: str
    kind: str = ""
    code: str = ""


Event = Begin | Open | More | Close | Finish | Counted | Erred


class Unreadable(ValueError):
    """A body that is not of its dialect."""

    def __init__(self, param: str, message: str) -> None:
        """`param` is the member at fault, e.g. `messages[2].content`."""
        super().__init__(message)
        self.param = param
        self.message = message


@dataclass(slots=True)
class Losses:
    """What a dialect could not express, by where it stood: `messages[2].content[0].cache_control`."""

    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Name one, once."""
        if name not in self.names:
            self.names.append(name)
