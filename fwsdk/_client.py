"""The client: one pipeline from a call to a reply. Everything the blocking client does is done here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pydantic

from fwsdk import _verify, types
from fwsdk._clock import SYSTEM, Clock
from fwsdk._engine import open_engine
from fwsdk._http import HttpTransport
from fwsdk._money import UNKNOWN, Money
from fwsdk._pipeline import Pipeline
from fwsdk._reply import Asked, Conversation, Reply, conversation, response_format
from fwsdk._scope import current
from fwsdk._spans import CallSpan, call_span
from fwsdk._stream import AsyncStream
from fwsdk.config import DEFAULT_RETRIES, DEFAULT_TIMEOUT, settings
from fwsdk.errors import InvalidReply
from fwsdk.run import AsyncRun
from fwsdk.transport import Engine, Request, Response, Transport

if TYPE_CHECKING:
    from fwsdk.types.embeddings import Embeddings
    from fwsdk.types.explain import Explanation
    from fwsdk.types.models import Model
    from fwsdk.types.outcomes import OutcomeReceipt, OutcomeReport

_CHAT = "/v1/chat/completions"
_W = TypeVar("_W", bound="pydantic.BaseModel")


class AsyncClient:
    """Calls to a gateway, or to an engine in this process. Close it, or use it in `async with`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        transport: Transport | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """`url` and `api_key` default to FW_URL and FW_API_KEY; `timeout` is in seconds for a whole call, retries included.

        Raises:
            ValueError: the url is no http(s) url, or a number is out of range.
        """
        found = settings(url, api_key, timeout=timeout, max_retries=max_retries)

        async def opened() -> Transport:
            return transport or HttpTransport(found.url, found.api_key)

        self._pipeline = Pipeline(found, opened, clock)
        self._url = found.url

    @classmethod
    def embedded(
        cls, path: str | None = None, *, timeout: float = DEFAULT_TIMEOUT, max_retries: int = DEFAULT_RETRIES
    ) -> Self:
        """A client with a whole gateway in this process: no server needed. `path`: its config; None: the built-in one.

        The engine is opened at the first call, which raises `MissingExtra` when no gateway is installed.
        """
        client = cls(timeout=timeout, max_retries=max_retries)

        async def opened() -> Transport:
            return await open_engine(path)

        client._pipeline = Pipeline(client._pipeline.settings, opened, SYSTEM)
        client._url = ""
        return client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url or 'embedded'!r})"

    async def chat(
        self,
        /,
        asked: Asked,
        *,
        model: str = "auto",
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Any = None,
        max_tokens: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the whole call's, retries included
        **fields: Any,
    ) -> Reply:
        """Ask, and get the whole answer. `response_format` may be a pydantic model; other fields pass through untouched.

        Raises:
            FwError: see `fwsdk.errors`.
        """
        fields |= {"model": model, "tools": tools, "response_format": response_format, "max_tokens": max_tokens}
        thread, body, shape = _chat_body(asked, fields)
        deadline, check = self._pipeline.deadline(timeout), current().verify
        with call_span(model, stream=False, url=self._url, params=body) as call:
            request = _post(_CHAT, body, call, checked=check is not None)
            response, found = await self._pipeline.json(request, deadline)
            reply = _reply_of(call, response, found, (thread, shape))
            while check is not None and _verify.asked(response.headers):
                accepted = await _verify.run(check, reply, deadline)
                told = _verify.verdict(response.headers, request.headers, accept=accepted)
                response, found = await self._pipeline.json(told, deadline)
                if accepted:
                    call.response(response.headers)
                    call.attributes(response.attributes())
                    reply = replace(reply, verified=True, cost=call.cost)
                    break
                reply = _reply_of(call, response, found, (thread, shape))
            reasons = [one.finish_reason for one in reply.completion.choices if one.finish_reason]
            call.finish(reply.completion.model, reply.completion.id, reasons)
        return reply

    def stream(
        self,
        /,
        asked: Asked,
        *,
        model: str = "auto",
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Any = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> AsyncStream:
        """Ask, and get the answer as it is written: pieces of text, then `.reply`. Nothing is sent before the first piece is asked for."""
        fields |= {"model": model, "tools": tools, "response_format": response_format, "max_tokens": max_tokens}
        thread, body, shape = _chat_body(asked, fields)
        body["stream"] = True
        body.setdefault("stream_options", {"include_usage": True})
        check = current().verify
        return AsyncStream(
            self._pipeline,
            lambda call: _post(_CHAT, body, call, receipt=True, checked=check is not None),
            lambda: call_span(model, stream=True, url=self._url, params=body),
            timeout=timeout,
            asked=thread,
            shape=shape,
            check=check,
        )

    async def embed(
        self,
        /,
        text: str | Sequence[str],
        *,
        model: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the whole call's, retries included
        **fields: Any,
    ) -> "Embeddings":
        """Vectors for one text or several. `model` must be a configured name.

        Raises:
            FwError: see `fwsdk.errors`.
        """
        body = {"model": model, "input": text if isinstance(text, str) else list(text), **fields}
        deadline = self._pipeline.deadline(timeout)
        with call_span(model, stream=False, operation="embeddings", url=self._url) as call:
            response, found = await self._pipeline.json(_post("/v1/embeddings", body, call), deadline)
            call.response(response.headers)
            call.attributes(response.attributes())
            embeddings = _typed(types.embeddings.Embeddings, found)
            call.finish(embeddings.model)
        return embeddings

    async def models(self, *, timeout: float | None = None) -> "list[Model]":  # noqa: ASYNC109 - the whole call's, retries included
        """What may stand in `model`, beside `auto`.

        Raises:
            FwError: see `fwsdk.errors`.
        """
        return _typed(types.models.ModelList, await self._get("/v1/models", timeout)).data

    async def explain(
        self,
        /,
        asked: Asked = "",
        *,
        decision: str | None = None,
        run: str | None = None,
        model: str = "auto",
        timeout: float | None = None,  # noqa: ASYNC109 - the whole call's, retries included
        **fields: Any,
    ) -> "Explanation":
        """What would be done with this call, here and now, and why; nothing is sent to a model.

        With `decision` (a reply's `decision_id`) or `run`: what was done, estimates beside actuals.

        Raises:
            NotFound: the gateway knows no such decision or run.
        """
        if decision is not None:
            return _typed(types.explain.Explanation, await self._get(f"/v1/decisions/{decision}", timeout))
        if run is not None:
            return _typed(types.explain.Explanation, await self._get(f"/v1/runs/{run}", timeout))
        _, body, _ = _chat_body(asked, {**fields, "model": model})
        declared = _verify.DECLARED if current().verify is not None else {}
        headers = _json_headers({**current().headers(), **declared})
        request = Request("POST", "/v1/explain", headers, json.dumps(body).encode())
        _, found = await self._pipeline.json(request, self._pipeline.deadline(timeout))
        return _typed(types.explain.Explanation, found)

    def run(
        self,
        agent: str,
        *,
        budget: Money | str | float | None = None,
        thread: str | None = None,
        labels: Mapping[str, str] | None = None,
        policy: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's own name
    ) -> AsyncRun:
        """A run of `agent`, to be opened with `async with`. `budget`: what it may cost, as `"2 USD"`.

        Raises:
            ValueError: the budget is no amount of money.
        """
        return AsyncRun(
            agent,
            report=self._report,
            ask=self._explain_run,
            budget=budget,
            thread=thread,
            labels=labels,
            policy=policy,
            id=id,
        )

    async def outcome(
        self,
        outcomes: Mapping[str, bool | float],
        *,
        run: str | None = None,
        decision: str | None = None,
        step: str | None = None,
        source: str | None = None,
        version: str | None = None,
        key: str | None = None,
    ) -> "OutcomeReceipt":
        """Say what became of a run or a decision, however late. The same `key` twice is stored once.

        Raises:
            FwError: the gateway did not take it.
        """
        report = types.outcomes.OutcomeReport(
            outcomes=dict(outcomes), run=run, decision=decision, step=step, source=source, version=version, key=key
        )
        return await self._report(report)

    async def address(self) -> tuple[str, str]:
        """For programs that speak only HTTP: a base url ending in `/v1`, and its key. Opens a loopback listener when embedded."""
        transport = await self._pipeline.transport()
        if isinstance(transport, Engine):
            return await transport.listen()
        return f"{self._url}/v1", self._pipeline.settings.api_key

    async def close(self) -> None:
        """Release connections, or the engine."""
        await self._pipeline.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _get(self, path: str, timeout: float | None) -> dict[str, Any]:  # noqa: ASYNC109 - as above
        request = Request("GET", path, {"accept": "application/json"})
        return (await self._pipeline.json(request, self._pipeline.deadline(timeout)))[1]

    async def _report(self, report: "OutcomeReport") -> "OutcomeReceipt":
        body = report.model_dump_json(exclude_none=True).encode()
        request = Request("POST", "/v1/outcomes", _json_headers({}), body)
        _, found = await self._pipeline.json(request, self._pipeline.deadline(None))
        return _typed(types.outcomes.OutcomeReceipt, found)

    async def _explain_run(self, run: str) -> "Explanation":
        return await self.explain(run=run)


def _chat_body(
    asked: Asked, fields: Mapping[str, Any]
) -> "tuple[Conversation, dict[str, Any], type[pydantic.BaseModel] | None]":
    """The conversation, the request body, and the class to parse the answer into. Fields that are None are not sent."""
    thread = conversation(asked)
    format_, shape = response_format(fields.get("response_format"))
    body = {"messages": list(thread.messages), **fields, "response_format": format_}
    return thread, {name: value for name, value in body.items() if value is not None}, shape


def _json_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "content-type": "application/json", "accept": "application/json"}


def _reply_of(
    call: CallSpan,
    response: Response,
    found: Mapping[str, Any],
    asked: "tuple[Conversation, type[pydantic.BaseModel] | None]",
) -> Reply:
    """The reply to what was `asked` (conversation and shape); the call's span learns of it."""
    call.response(response.headers)
    call.attributes(response.attributes())
    completion = _typed(types.chat.ChatCompletion, found)
    if not completion.choices:
        raise InvalidReply("the answer has no choices.")
    return Reply(
        completion,
        asked[0],
        response.headers,
        cost=call.cost,
        decision_id=call.decision_id,
        budget_left=_money(response.headers.get("x-fw-budget-remaining")),
        shape=asked[1],
        verified=_verify.said(response.headers),
    )


def _post(
    path: str, body: Mapping[str, Any], call: CallSpan, *, receipt: bool = False, checked: bool = False
) -> Request:
    headers = _json_headers(call.headers)
    if checked:
        headers |= _verify.DECLARED
    if receipt:
        headers |= {"accept": "text/event-stream", "x-fw-receipt": "1"}
    return Request("POST", path, headers, json.dumps(body, allow_nan=False, ensure_ascii=False).encode())


def _typed(kind: type[_W], found: Mapping[str, Any]) -> _W:
    try:
        return kind.model_validate(found)
    except pydantic.ValidationError as fault:
        where = ".".join(str(part) for part in fault.errors()[0]["loc"])
        raise InvalidReply(f"the answer has not the shape of {kind.__name__}: {where} is missing or wrong.") from fault


def _money(text: str | None) -> Money:
    try:
        return Money.of(text)
    except ValueError:
        return UNKNOWN
