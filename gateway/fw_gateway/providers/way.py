"""How one call goes to one endpoint and its answer comes back: relayed where both speak its protocol, translated where not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import orjson

from fw_gateway.config import Endpoint
from fw_gateway.errors import BadRequest, written
from fw_gateway.providers.codecs import Making, Reader, Writer, codecs
from fw_gateway.providers.dialects import messages, responses
from fw_gateway.providers.form import Losses, Unreadable
from fw_gateway.providers.profiles import profile
from fw_gateway.providers.protocols import COUNT, OPAQUE, RUNNING, protocols
from fw_gateway.providers.protocols import Protocol as Spoken
from fw_gateway.providers.sse import Frames
from fw_gateway.providers.watching import Answer, Watcher, text
from fw_gateway.values import Call

VERSION: Final = {"anthropic-version": "2023-06-01"}
"""What Anthropic's servers ask for where the caller does not speak their protocol."""

QUIET: Final = frozenset({
    "created", "background", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "store", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
"""Members of an answer that nobody misses who never had a word for them: when it was made, as HTTP says too, and what it repeats of the
request."""


class Way(Protocol):
    """One call's way to one endpoint and back."""

    spoken: Spoken
    """The protocol upstream."""

    @property
    def lost(self) -> tuple[str, ...]:
        """What it could not say."""
        ...

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
        quirks = profile(endpoint.row.profile)
        self._usage = call.stream and not call.wants_usage and call.protocol != OPAQUE and quirks.ask_usage
        # Hidden again like the usage that was not asked for; who asks for that gets it as the server gives it.
        self._running = {"running": True} if self._usage and quirks.running_usage and call.protocol in RUNNING else {}
        self._body = call.body
        if call.protocol in {messages.name, COUNT}:
            self._body, self.lost = messages.kept_from(call.body, call.fields, strict=quirks.checks_thoughts)

    def headers(self) -> dict[str, str]:
        """Those of the caller that its protocol passes on."""
        found = dict(self._call.passed)
        return {**VERSION, **found} if self.spoken.family == "anthropic" else found

    def request(self, model: str, effort: str | None) -> bytes:
        """The caller's body with another model."""
        call = self._call
        body = self.spoken.rewrite(self._body, call.fields, model=model, usage=self._usage, **self._running)
        return body if not effort or self.spoken.with_effort is None else self.spoken.with_effort(body, effort)

    def whole(self, body: bytes) -> tuple[Answer, bytes]:
        """As it came."""
        return self.spoken.read(body), body

    def watcher(self) -> Watcher:
        """Relays what it watches."""
        watch: Any = self.spoken.watch
        found: Watcher = watch(hide_usage=self._usage, choices=self._call.asked.choices, **self._running)
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


class Translated:
    """Another protocol upstream than the caller's: both through the form, and what is lost on the way named."""

    def __init__(self, call: Call, endpoint: Endpoint, spoken: str) -> None:
        """`spoken`: what the endpoint speaks instead.

        Raises:
            BadRequest: the request is not of its protocol.
        """
        self._call, self._endpoint = call, endpoint
        self.spoken = protocols[spoken]
        self._front, self._back = codecs[call.protocol], codecs[spoken]
        try:
            self._asked = self._front.read_request(call.fields)
        except Unreadable as fault:
            raise BadRequest(fault.message, param=fault.param or None) from None
        self._losses, self._untold = Losses(), Losses()
        self._making = Making(self._asked, call.decision_id, call.started_ns // 10**9, spoken)
        self._watching: Watcher | None = None
        running = call.stream and profile(endpoint.row.profile).running_usage and spoken in RUNNING
        self._running = {"running": True} if running else {}
        self._begun: tuple[Reader, Writer, Frames] | None = None

    @property
    def lost(self) -> tuple[str, ...]:
        """What could not be said: of the request as it stands there, of the answer so far with `answer.` before it."""
        untold = (f"answer.{name}" for name in self._untold.names if name not in QUIET)
        return (*self._losses.names, *untold)

    def headers(self) -> dict[str, str]:
        """None of the caller's: they are words of another protocol."""
        return dict(VERSION) if self.spoken.family == "anthropic" else {}

    def request(self, model: str, effort: str | None) -> bytes:
        """The same question in the other protocol's words."""
        asked = replace(self._asked, model=model)
        if effort and asked.effort is None:
            asked = replace(asked, effort=effort)
        quirks = profile(self._endpoint.row.profile)
        wire = self._back.write_request(asked, self._losses, quirks, self._endpoint.target.max_output)
        if self._running:
            wire["stream_options"] = {**wire.get("stream_options", {}), "continuous_usage_stats": True}
        return written(wire)

    def whole(self, body: bytes) -> tuple[Answer, bytes]:
        """The answer in the caller's own protocol."""
        found = self.spoken.read(body)
        if found.problem:
            return found, b""
        try:
            answer = self._back.read_answer(orjson.loads(body))
        except Unreadable as fault:
            return replace(found, problem=f"the upstream's answer cannot be read: {fault.message}"), b""
        return found, written(self._front.write_answer(answer, self._untold, self._making))

    def watcher(self) -> Watcher:
        """Watches the upstream's own protocol; all of its usage is wanted."""
        watch: Any = self.spoken.watch
        found: Watcher = watch(hide_usage=False, choices=self._call.asked.choices, **self._running)
        self._watching = found
        return found

    def out(self, events: bytes) -> bytes:
        """Whole events, told again in the caller's protocol."""
        reader, writer, frames = self._streams()
        out = []
        try:
            for name, data in frames.feed(events):
                out += [writer.write(event) for event in reader.feed(name, data)]
        except Unreadable as fault:
            if self._watching is not None:
                self._watching.problem = self._watching.problem or fault.message
        return b"".join(out)

    def ending(self, watcher: Watcher) -> bytes:
        """What the upstream's last event says, and the caller's own end."""
        return self.out(watcher.ending()) + self._streams()[1].end()

    def failure(self, watcher: Watcher, error: Mapping[str, Any]) -> bytes:
        """In the caller's words."""
        kind, code = text(error.get("type")), text(error.get("code"))
        return self._streams()[1].fail(str(error["message"]), kind, code)

    def _streams(self) -> "tuple[Reader, Writer, Frames]":
        if self._begun is None:
            self._begun = self._back.reader(), self._front.writer(self._making, self._untold), Frames()
        return self._begun


def way(call: Call, endpoint: Endpoint) -> Way:
    """The way of a call to an endpoint.

    Raises:
        BadRequest: it must be translated, and is not of its own protocol.
    """
    if call.protocol in endpoint.speaks or call.protocol not in codecs:
        if call.protocol == responses.name and responses.sealed_elsewhere(call.fields):
            return Translated(
                call, endpoint, call.protocol
            )  # without them: its own provider refuses the thoughts of others
        return Relayed(call, endpoint)
    return Translated(call, endpoint, next(name for name in endpoint.speaks if name in codecs))
