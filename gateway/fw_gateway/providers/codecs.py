"""The dialects that can be translated into one another, as a table: each reads its wire into the form, and writes the form as its wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from fw_gateway.providers.dialects import chat, messages, responses
from fw_gateway.providers.form import Answer, Event, Losses, Request
from fw_gateway.providers.profiles import Profile

Fields = Mapping[str, Any]
MAX_TOKENS: Final = 8192
"""Tokens that an answer may have where a protocol must be told and nobody said."""


class Reader(Protocol):
    """Reads one stream."""

    def feed(self, name: str, data: str) -> list[Event]:
        """What one event says."""
        ...


class Writer(Protocol):
    """Writes one stream."""

    def write(self, event: Event) -> bytes:
        """The bytes that tell one event; often none."""
        ...

    def end(self) -> bytes:
        """What ends a stream that told all it had."""
        ...

    def fail(self, message: str, kind: str, code: str) -> bytes:
        """An error in band, after which nothing follows."""
        ...


@dataclass(frozen=True, slots=True)
class Making:
    """What an answer is made with that its upstream may not say."""

    asked: Request
    """What is answered."""
    seed: str
    """What ids are made of."""
    created: int
    """Unix seconds."""
    maker: str
    """The dialect that it comes from."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One dialect's two directions."""

    name: str
    read_request: Callable[[Fields], Request]
    """Raises Unreadable."""
    write_request: Callable[[Request, Losses, Profile, int | None], dict[str, Any]]
    """(form, losses, quirks of the server, tokens it may write at most)."""
    read_answer: Callable[[Any], Answer]
    """Raises Unreadable."""
    write_answer: Callable[[Answer, Losses, Making], dict[str, Any]]
    reader: Callable[[], Reader]
    writer: Callable[[Making, Losses], Writer]


def _to_chat(asked: Request, losses: Losses, quirks: Profile, longest: int | None) -> dict[str, Any]:
    found = chat.write_request(asked, losses, beyond=quirks.beyond)
    if not quirks.ask_usage:
        found.pop("stream_options", None)
    return found


def _to_messages(asked: Request, losses: Losses, quirks: Profile, longest: int | None) -> dict[str, Any]:
    return messages.write_request(asked, losses, max_tokens=longest or MAX_TOKENS)


codecs: Final[Mapping[str, Codec]] = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec(
                chat.name,
                chat.read_request,
                _to_chat,
                chat.read_answer,
                lambda answer, losses, made: chat.write_answer(answer, losses, seed=made.seed, created=made.created),
                chat.Reader,
                lambda made, losses: chat.Writer(
                    made.asked, seed=made.seed, created=made.created, source=made.maker, losses=losses
                ),
            ),
            Codec(
                responses.name,
                responses.read_request,
                lambda asked, losses, quirks, longest: responses.write_request(asked, losses),
                responses.read_answer,
                lambda answer, losses, made: responses.write_answer(
                    answer, losses, asked=made.asked, seed=made.seed, created=made.created
                ),
                responses.Reader,
                lambda made, losses: responses.Writer(
                    made.asked, seed=made.seed, created=made.created, source=made.maker, losses=losses
                ),
            ),
            Codec(
                messages.name,
                messages.read_request,
                _to_messages,
                messages.read_answer,
                lambda answer, losses, made: messages.write_answer(answer, losses, seed=made.seed),
                messages.Reader,
                lambda made, losses: messages.Writer(made.asked, seed=made.seed, source=made.maker, losses=losses),
            ),
        )
    }
)
