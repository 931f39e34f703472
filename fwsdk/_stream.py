"""An answer as it is written: pieces of text, then the whole reply. An end without a finish reason is no end."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import pydantic

from fwsdk import _verify, types
from fwsdk._money import UNKNOWN, Money
from fwsdk._pipeline import Deadline, Pipeline, read, within
from fwsdk._reply import Conversation, Reply
from fwsdk._spans import CallSpan
from fwsdk._sse import Event, Framer, TooLong
from fwsdk.errors import ConnectionFailed, DeadlineExceeded, StreamInterrupted
from fwsdk.transport import Request, Response

if TYPE_CHECKING:
    from fwsdk.types.chat import ChatCompletion

_TAIL = 1.0
"""Seconds granted to a body to end after its terminator."""


class _Gathered:
    """The deltas of choice 0, put together."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.whole: dict[str, Any] = {}
        self.message: dict[str, Any] = {"role": "assistant"}
        self.calls: dict[int, dict[str, Any]] = {}
        self.finish: str | None = None

    def add(self, chunk: dict[str, Any]) -> str:
        """Take one chunk in; the text it brings."""
        for name, value in chunk.items():
            if name != "choices" and value is not None:
                self.whole[name] = value
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                self.finish = choice.get("finish_reason") or self.finish
                return self._delta(choice.get("delta") or {})
        return ""

    def _delta(self, delta: dict[str, Any]) -> str:
        for name, value in delta.items():
            if name == "tool_calls":
                for part in value or ():
                    self._call(part)
            elif name not in ("content", "role") and isinstance(value, str):
                self.message[name] = self.message.get(name, "") + value
        text = delta.get("content") or ""
        if text:
            self.text.append(text)
        return str(text)

    def _call(self, part: dict[str, Any]) -> None:
        call = self.calls.setdefault(part.get("index", 0), {"function": {"name": "", "arguments": ""}})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call.get("id", "")
        call["type"] = part.get("type") or call.get("type", "function")
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def completion(self) -> "ChatCompletion":
        """The answer as if it had come in one piece."""
        message = {**self.message, "content": "".join(self.text) if self.text else None}
        if self.calls:
            message["tool_calls"] = [self.calls[index] for index in sorted(self.calls)]
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return types.chat.ChatCompletion.model_validate(
            {**self.whole, "object": "chat.completion", "choices": [choice]}
        )


class AsyncStream:
    """Text, piece by piece: `async for text in stream`. Afterwards `reply` is the whole answer.

    Nothing is sent before the first piece is asked for. Leaving early cancels the exchange when the stream is closed, which
    `async with` does by itself.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        request: Callable[[CallSpan], Request],
        span: Callable[[], CallSpan],
        *,
        timeout: float | None,
        asked: Conversation,
        shape: "type[pydantic.BaseModel] | None",
        check: "_verify.Check | None" = None,
    ) -> None:
        """Made by `stream(...)` of a client."""
        self._check = check
        self._verified: bool | None = None
        self._pipeline = pipeline
        self._request = request
        self._asked = asked
        self._shape = shape
        self._timeout = timeout
        self._context = copy_context()
        self._span = span
        self._call: CallSpan | None = None
        self._deadline: Deadline | None = None
        self._response: Response | None = None
        self._framer = Framer()
        self._gathered = _Gathered()
        self._ready: deque[str] = deque()
        self._terminated = False
        self._over = False
        self._budget_left = UNKNOWN
        self._reply: Reply | None = None

    @property
    def text(self) -> str:
        """What has arrived so far."""
        return "".join(self._gathered.text)

    @property
    def reply(self) -> Reply:
        """The whole answer.

        Raises:
            RuntimeError: the stream has not been read to its end.
        """
        if self._reply is None:
            raise RuntimeError("the stream is not over; read it to its end first")
        return self._reply

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        piece = await self.piece()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def piece(self) -> str | None:
        """The next piece of text, or None at the end.

        Raises:
            FwError: the call failed; an answer that had begun is in the error's `text`.
        """
        if self._over:
            return None
        try:
            response, deadline = await self._begun()
            while not self._ready:
                if self._terminated or not await self._more(response, deadline):
                    await self._end(response)
                    return None
            return self._ready.popleft()
        except BaseException as fault:
            await self._drop(fault)
            raise

    async def _begun(self) -> tuple[Response, Deadline]:
        if self._response is None or self._deadline is None:
            self._deadline = self._pipeline.deadline(self._timeout)
            self._call = self._context.run(self._span)
            request = self._request(self._call)
            self._response = await self._pipeline.send(request, self._deadline)
            self._call.response(self._response.headers)
            if self._check is not None:
                await self._judged(self._check, self._call, self._deadline, request.headers)
        return self._response, self._deadline

    async def _judged(
        self, check: "_verify.Check", call: CallSpan, deadline: Deadline, sent: Mapping[str, str]
    ) -> None:
        """Read answers whole until the check accepts one: nobody sees a piece of an answer that is rejected."""
        while (response := self._response) is not None and _verify.asked(response.headers):
            while not self._terminated and await self._more(response, deadline):
                pass
            if self._gathered.finish is None:
                self._interrupted("the answer ended without saying why; it is not complete")
            accepted = await _verify.run(check, self._gave(response, call), deadline)
            told = _verify.verdict(response.headers, sent, accept=accepted)
            following = await self._pipeline.send(told, deadline)
            call.response(following.headers)
            if accepted:
                self._verified = True
                await read(following, deadline)
                return
            await response.aclose()
            self._response, self._terminated = following, False
            self._framer, self._gathered = Framer(), _Gathered()
            self._ready.clear()
            self._verified = _verify.said(following.headers)

    def _gave(self, response: Response, call: CallSpan) -> Reply:
        """What was gathered, as a reply."""
        return Reply(
            self._completion(),
            self._asked,
            response.headers,
            cost=call.cost,
            decision_id=call.decision_id,
            budget_left=self._budget_left,
            shape=self._shape,
            verified=self._verified,
        )

    def _completion(self) -> "ChatCompletion":
        try:
            return self._gathered.completion()
        except pydantic.ValidationError as fault:
            raise StreamInterrupted("the answer has not the shape of a chat answer", text=self.text) from fault

    async def _more(self, response: Response, deadline: Deadline) -> bool:
        """Read once; whether there was anything."""
        try:
            async with within(deadline):
                chunk = await anext(response.body, None)
        except ConnectionFailed as fault:
            self._interrupted(f"the answer broke off: {fault.message}")
        except DeadlineExceeded as fault:
            raise DeadlineExceeded(fault.message, hint=fault.hint, text=self.text) from fault
        if chunk is None:
            return False
        try:
            for event in self._framer.feed(chunk):
                self._take(event)
        except TooLong as fault:
            self._interrupted(str(fault))
        return True

    def _take(self, event: Event) -> None:
        if event.comment is not None:
            if event.comment.startswith("fw-receipt "):
                self._receipt(event.comment.removeprefix("fw-receipt "))
            return
        if event.data == "[DONE]":
            self._terminated = True
            return
        try:
            chunk = json.loads(event.data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            self._interrupted("an event of the answer is no JSON object")
        if event.name == "error" or chunk.get("error"):
            problem = chunk.get("error")
            said = problem.get("message") if isinstance(problem, dict) else problem
            self._interrupted(str(said or "the gateway reported an error in the middle of the answer"))
        if self._call is not None and chunk.get("choices"):
            self._call.first_chunk()
        try:
            text = self._gathered.add(chunk)
        except (AttributeError, TypeError):
            self._interrupted("an event of the answer has not the shape of a chat chunk")
        if text:
            self._ready.append(text)

    def _receipt(self, text: str) -> None:
        """Cost and budget; a receipt that cannot be read leaves both unknown."""
        with suppress(ValueError, AttributeError):
            found = json.loads(text)
            if self._call is not None:
                self._call.paid(found.get("cost"))
            self._budget_left = Money.of(found.get("budget_remaining"))

    def _interrupted(self, why: str) -> NoReturn:
        raise StreamInterrupted(why, text=self.text)

    async def _end(self, response: Response) -> None:
        if self._gathered.finish is None:
            self._interrupted("the answer ended without saying why; it is not complete")
        with suppress(TimeoutError, ConnectionFailed, DeadlineExceeded):
            async with asyncio.timeout(_TAIL):
                while await anext(response.body, None) is not None:
                    pass
        completion = self._completion()
        call = self._call
        self._over = True
        await response.aclose()
        if call is None:
            return
        call.first_chunk()
        call.attributes(response.attributes())
        call.finish(completion.model, completion.id, (completion.choices[0].finish_reason or "",))
        self._reply = self._gave(response, call)

    async def _drop(self, fault: BaseException) -> None:
        self._over = True
        response, self._response = self._response, None
        try:
            if response is not None:
                await response.aclose()
        finally:
            if self._call is not None:
                if response is not None:
                    self._call.attributes(response.attributes())
                self._call.fail(fault)

    async def aclose(self) -> None:
        """Leave. An exchange that is not over is cancelled."""
        if self._over:
            return
        self._over = True
        if self._response is not None:
            await self._response.aclose()
        if self._call is not None:
            self._call.abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
