"""LangGraph on the gateway: one chat model for every node. Who is calling travels with each call, with no code of yours.

    llm = ChatGateway("auto")
    graph.add_node("triage", lambda state: {"messages": [llm.invoke(state["messages"])]})

The graph's name is the agent, the node's name the step; run, thread, task and attempt come from LangGraph itself.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from fw_agents._graph import HERE, idempotency_key, scope_of
from fwsdk import AsyncClient, Client
from fwsdk.adapters import CallSpan, call_span
from fwsdk.config import settings

__all__ = ["ChatGateway"]

_NO_KEY = "none"
"""What is sent when the gateway wants no key; the client library insists on one."""


class ChatGateway(ChatOpenAI):
    """A chat model behind the gateway. `auto` lets the policy choose; a configured name pins it.

    Give it a `client` of fwsdk (an embedded one opens a loopback listener), or a `base_url` and `api_key`; else FW_URL and
    FW_API_KEY say where. Everything else is ChatOpenAI's: tools, structured output, streaming, batches.
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        client: Client | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Connects at the first call.

        Raises:
            TypeError: `client` is asynchronous; `await ChatGateway.of(client)` takes those.
        """
        if isinstance(client, AsyncClient):
            raise TypeError("an AsyncClient has to be awaited: use `await ChatGateway.of(client)`")
        if client is not None:
            base_url, api_key = client.address()
        elif base_url is None:
            found = settings(None, api_key)
            base_url, api_key = f"{found.url}/v1", api_key or found.api_key
        kwargs.setdefault("include_response_headers", True)
        kwargs.setdefault("stream_usage", True)
        kwargs.setdefault("use_responses_api", False)
        kwargs.setdefault("max_retries", 0)  # the gateway retries, within the call's deadline; twice would multiply
        super().__init__(model=model, base_url=base_url, api_key=SecretStr(api_key or _NO_KEY), **kwargs)

    @classmethod
    async def of(cls, client: AsyncClient, model: str = "auto", **kwargs: Any) -> Self:
        """A model on an asynchronous client."""
        base_url, api_key = await client.address()
        return cls(model, base_url=base_url, api_key=api_key, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "fw-gateway"

    def _open(self, messages: list[BaseMessage], kwargs: dict[str, Any], *, stream: bool) -> CallSpan:
        """Open the call's span, and put its headers among the arguments."""
        here = HERE.get()
        scope = scope_of(here)
        call = call_span(
            self.model_name,
            stream=stream,
            scope=scope,
            url=str(self.openai_api_base or ""),
            params=kwargs,
            parent=here.span,
        )
        headers = dict(call.headers)
        asked = {**self._default_params, **{k: v for k, v in kwargs.items() if k != "extra_headers"}}
        key = idempotency_key(scope, messages, asked)
        if key:
            headers["x-fw-idempotency-key"] = key
        kwargs["extra_headers"] = {**headers, **(kwargs.get("extra_headers") or {})}
        return call

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._open(messages, kwargs, stream=False) as call:
            result = super()._generate(messages, stop, run_manager, **kwargs)
            _finish(call, result)
            return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._open(messages, kwargs, stream=False) as call:
            result = await super()._agenerate(messages, stop, run_manager, **kwargs)
            _finish(call, result)
            return result

    def _plain(self, kwargs: Mapping[str, Any]) -> ChatOpenAI:
        """Itself; without headers in the answer where the client library cannot give them (a schema on a stream)."""
        if "response_format" not in kwargs or not self.include_response_headers:
            return self
        return self.model_copy(update={"include_response_headers": False})

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._open(messages, kwargs, stream=True)
        seen = _Seen(call)
        try:
            for chunk in ChatOpenAI._stream(  # noqa: SLF001 - the hook that is overridden, on a copy
                self._plain(kwargs), messages, stop, run_manager, **kwargs
            ):
                seen.chunk(chunk)
                yield chunk
        except GeneratorExit:
            call.abandon()
            raise
        except BaseException as exc:
            call.fail(exc)
            raise
        seen.finish()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._open(messages, kwargs, stream=True)
        seen = _Seen(call)
        try:
            async for chunk in ChatOpenAI._astream(  # noqa: SLF001 - the hook that is overridden, on a copy
                self._plain(kwargs), messages, stop, run_manager, **kwargs
            ):
                seen.chunk(chunk)
                yield chunk
        except GeneratorExit:
            call.abandon()
            raise
        except BaseException as exc:
            call.fail(exc)
            raise
        seen.finish()


def _finish(call: CallSpan, result: ChatResult) -> None:
    """Read a whole answer for the span."""
    about = result.llm_output or {}
    reasons: list[str] = []
    for generation in result.generations:
        info = generation.generation_info or {}
        call.response(info.get("headers") or {})
        if info.get("finish_reason"):
            reasons.append(str(info["finish_reason"]))
    call.finish(about.get("model_name"), about.get("id"), reasons)


class _Seen:
    """Reads a stream for the span, chunk by chunk."""

    def __init__(self, call: CallSpan) -> None:
        self._call = call
        self._model: str | None = None
        self._id: str | None = None
        self._reasons: list[str] = []

    def chunk(self, chunk: ChatGenerationChunk) -> None:
        self._call.first_chunk()
        info = chunk.generation_info or {}
        if "headers" in info:
            self._call.response(info["headers"])
        self._model = info.get("model_name") or self._model
        if info.get("finish_reason"):
            self._reasons.append(str(info["finish_reason"]))
        self._id = self._id or chunk.message.id

    def finish(self) -> None:
        given = self._id if self._id and not self._id.startswith("run-") else None
        self._call.finish(self._model, given, self._reasons)
