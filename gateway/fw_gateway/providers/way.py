"""How one call goes to one endpoint and its answer comes back: relayed where both speak its protocol, translated where not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from fw_gateway.config import Endpoint
from fw_gateway.providers.profiles import profile
from fw_gateway.providers.protocols import OPAQUE, protocols
from fw_gateway.providers.protocols import Protocol as Spoken
from fw_gateway.providers.watching import Answer, Watcher
from fw_gateway.values import Call

VERSION: Final = {"anthropic-version": "2023-06-01"}
"""What Anthropic's servers ask for where the caller does not speak their protocol."""


class Way(Protocol):
    """One call's way to one endpoint and back."""

    spoken: Spoken
    """The protocol upstream."""
    lost: tuple[str, ...]
    """What of the request it cannot say."""

    def headers(self) -> dict[str, str]:
        """Headers that go with the request."""
        ...

    def request(self, model: str, effort: str | None) -> bytes:
        """The body as it goes upstream. `effort`: to be asked for; None: leave it to the caller and the model."""
        ...

    def whole(self, body: bytes) -> tuple[Answer, bytes]:
        """A whole answer: what the record must know of it, and the body that the client gets."""
        ...

    def watcher(self) -> Watcher:
        """What a stream is fed to, as the upstream speaks it."""
        ...

    def out(self, events: bytes) -> bytes:
        """What the watcher let go of, as the client understands it."""
        ...

    def ending(self, watcher: Watcher) -> bytes:
        """What ends a stream that is whole."""
        ...

    def failure(self, watcher: Watcher, error: Mapping[str, Any]) -> bytes:
        """The event by which the client learns that a stream broke; `error` in OpenAI's shape."""
        ...


class Relayed:
    """Same protocol in and out: bytes."""

    lost: tuple[str, ...] = ()

    def __init__(self, call: Call, endpoint: Endpoint) -> None:
        """`endpoint` speaks the call's own protocol."""
        self._call = call
        row = protocols[call.protocol]
        self.spoken = row if row.path else replace(row, path=call.path)
        self._usage = (
            call.stream and not call.wants_usage and call.protocol != OPAQUE and profile(endpoint.row.profile).ask_usage
        )

    def headers(self) -> dict[str, str]:
        """Those of the caller that its protocol passes on."""
        found = dict(self._call.passed)
        return {**VERSION, **found} if self.spoken.family == "anthropic" else found

    def request(self, model: str, effort: str | None) -> bytes:
        """The caller's body with another model."""
        call = self._call
        body = self.spoken.rewrite(call.body, call.fields, model=model, usage=self._usage)
        return body if not effort or self.spoken.with_effort is None else self.spoken.with_effort(body, effort)

    def whole(self, body: bytes) -> tuple[Answer, bytes]:
        """As it came."""
        return self.spoken.read(body), body

    def watcher(self) -> Watcher:
        """Relays what it watches."""
        watch: Any = self.spoken.watch
        found: Watcher = watch(hide_usage=self._usage, choices=self._call.asked.choices)
        return found

    def out(self, events: bytes) -> bytes:
        """As they came."""
        return events

    def ending(self, watcher: Watcher) -> bytes:
        """The upstream's own terminator."""
        return watcher.ending()

    def failure(self, watcher: Watcher, error: Mapping[str, Any]) -> bytes:
        """In the protocol's own words."""
        return watcher.failure(error)


def way(call: Call, endpoint: Endpoint) -> Way:
    """The way of a call to an endpoint."""
    return Relayed(call, endpoint)
