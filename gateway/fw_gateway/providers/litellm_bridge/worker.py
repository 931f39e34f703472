"""The litellm process: OpenAI's protocol on a unix socket, translated by litellm for providers that speak something else.

Run by path in an interpreter that has litellm; imports the standard library, aiohttp and litellm alone. Reads one line of JSON from stdin
({"socket": path}), writes one line ({"ready": version} or {"error": text}), then serves until stdin ends: whoever holds the other end of that
pipe is this process's life. It knows no key: each request brings its own, and the address it goes to, from the parent.
"""

import asyncio
import base64
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

_PR_SET_PDEATHSIG = 1
_MAX_BODY = 64 * 1024 * 1024

PREFIXES: Mapping[str, tuple[str, bool]] = {
    "anthropic": ("anthropic", True),
    "gemini": ("gemini", True),
    "vertex": ("vertex_ai", False),
    "bedrock": ("bedrock", False),
    "azure": ("azure", True),
    "cohere": ("cohere", True),
    "litellm": ("", True),
}
"""Provider row -> (litellm's name of it, empty where the model's own name begins with that; whether the bearer key is its credential).

The others read their credential from the environment."""

FIELDS: Mapping[str, frozenset[str]] = {
    "chat": frozenset(
        {
            "messages",
            "temperature",
            "top_p",
            "n",
            "stop",
            "max_tokens",
            "max_completion_tokens",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "user",
            "response_format",
            "seed",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "logprobs",
            "top_logprobs",
            "stream_options",
            "reasoning_effort",
            "verbosity",
            "modalities",
            "audio",
            "prediction",
            "service_tier",
            "functions",
            "function_call",
            "prompt_cache_key",
            "safety_identifier",
            "web_search_options",
            "top_k",
            "thinking",
        }
    ),
    "embeddings": frozenset({"input", "dimensions", "encoding_format", "user"}),
}
"""What a body may hold. A closed list: litellm takes addresses, credentials and callbacks by keyword too, and a client must not reach them."""

_OF_THE_ACCOUNT = frozenset({"metadata", "store"})
"""OpenAI's own book-keeping: no effect on the answer, nothing to translate."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    408: "timeout_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
_STATUS = {"APIConnectionError": 502, "Timeout": 504}
_CODES = {"ContextWindowExceededError": "context_length_exceeded", "ContentPolicyViolationError": "content_filter"}


class Refused(Exception):
    """The body holds something that cannot be carried over."""


def arguments(operation: str, provider: str, body: Any) -> dict[str, Any]:
    """The keyword arguments for litellm, without the key and the address.

    Raises:
        Refused: the provider is unknown, or a field has no translation.
    """
    if provider not in PREFIXES:
        raise Refused(f"the bridge has no provider {provider}; it has {', '.join(PREFIXES)}.")
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refused("the body must be an object with a model.")
    known = FIELDS[operation]
    unknown = sorted(body.keys() - known - _OF_THE_ACCOUNT - {"model", "stream"})
    if unknown:
        raise Refused(f"{', '.join(unknown)} cannot be carried to {provider}: leave it out, or name another model.")
    chosen = {name: value for name, value in body.items() if name in known and value is not None}
    prefix = PREFIXES[provider][0]
    name = f"{prefix}/{body['model']}" if prefix else body["model"]
    return {"model": name, **chosen, "num_retries": 0, "max_retries": 0}


def problem(fault: BaseException, secret: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An exception as (status, body in OpenAI's shape, headers), without the key."""
    name = type(fault).__name__
    status = _STATUS.get(name) or int(getattr(fault, "status_code", None) or 500)
    message = str(getattr(fault, "message", "") or fault) or name
    if secret:
        message = message.replace(secret, "…")
    error = {"message": message, "type": _TYPES.get(status, "api_error"), "param": None, "code": _CODES.get(name, name)}
    return status, {"error": error}, _patience(fault)


def _patience(fault: BaseException) -> dict[str, str]:
    """How long the provider asks to be left alone, if it said so."""
    for holder in (
        getattr(getattr(fault, "response", None), "headers", None),
        getattr(fault, "litellm_response_headers", None),
    ):
        with contextlib.suppress(AttributeError, TypeError):
            for name in ("retry-after", "llm_provider-retry-after"):
                if value := holder.get(name):  # type: ignore[union-attr]
                    return {"Retry-After": str(value)}
    return {}


def event(chunk: Any) -> dict[str, Any]:
    """One streamed chunk as OpenAI writes it: the usage comes in a chunk without choices."""
    value: dict[str, Any] = chunk.model_dump(mode="json", exclude_none=True)
    choices = value.get("choices") or []
    for choice in choices:
        choice.setdefault("finish_reason", None)
    if "usage" in value and not any(choice["finish_reason"] or choice.get("delta") for choice in choices):
        value["choices"] = []
    return value


class Worker:
    """Serves what litellm can do; the library is given, so that tests may bring a scripted one."""

    def __init__(self, litellm: Any) -> None:
        """Serve through this module."""
        self._litellm = litellm

    def app(self) -> web.Application:
        """The two routes: `/PROVIDER/BASE/v1/...`, BASE being the provider's address in URL-safe base 64, or `-`."""
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_post("/{provider}/{base}/v1/chat/completions", self._chat)
        application.router.add_post("/{provider}/{base}/v1/embeddings", self._embeddings)
        return application

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "chat", self._litellm.acompletion)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "embeddings", self._litellm.aembedding)

    async def _serve(self, request: web.Request, operation: str, ask: Any) -> web.StreamResponse:
        secret = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        provider = request.match_info["provider"]
        try:
            body = json.loads(await request.read())
            keywords = arguments(operation, provider, body)
        except (Refused, ValueError) as wrong:
            error = {"message": str(wrong), "type": "invalid_request_error", "param": None, "code": "invalid_request"}
            return web.json_response({"error": error}, status=400)
        if PREFIXES[provider][1] and secret:
            keywords["api_key"] = secret
        if (base := request.match_info["base"]) != "-":
            keywords["api_base"] = base64.urlsafe_b64decode(base + "=" * (-len(base) % 4)).decode()
        streamed = operation == "chat" and bool(body.get("stream"))
        try:
            if not streamed:
                answer = await ask(**keywords)
                return web.json_response(answer.model_dump(mode="json", exclude_none=True))
            stream = await ask(**keywords, stream=True)
        except Exception as fault:  # noqa: BLE001 - the border: whatever litellm raises becomes an answer
            status, report, headers = problem(fault, secret)
            return web.json_response(report, status=status, headers=headers)
        try:
            return await self._stream(request, aiter(stream), secret)
        finally:
            await let_go(stream)

    async def _stream(self, request: web.Request, chunks: AsyncIterator[Any], secret: str) -> web.StreamResponse:
        try:
            # The status line waits for the first chunk: until then a failure still has a status of its own.
            first = await anext(chunks, None)
        except Exception as fault:  # noqa: BLE001 - the border
            status, report, headers = problem(fault, secret)
            return web.json_response(report, status=status, headers=headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        try:
            if first is not None:
                await response.write(_line(event(first)))
            async for chunk in chunks:
                await response.write(_line(event(chunk)))
        except ConnectionError:
            raise
        except Exception as fault:  # noqa: BLE001 - the border: told in band, and no terminator follows
            await response.write(_line(problem(fault, secret)[1]))
            return response
        await response.write(b"data: [DONE]\n\n")
        return response


async def let_go(stream: Any) -> None:
    """Close a stream and what it reads from. litellm's own `aclose` stops at the outer layer for some providers."""
    inner = getattr(stream, "completion_stream", None)
    reader = getattr(inner, "streaming_response", None)
    for layer in (stream, inner, reader):
        close = getattr(layer, "aclose", None)
        if close is not None:
            with contextlib.suppress(Exception):
                await close()


def _line(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends. Elsewhere the pipe alone has to do."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def load() -> Any:
    """litellm, told to keep to itself: no price list from the network, no .env file, no advice on standard output."""
    import litellm  # noqa: PLC0415

    litellm.suppress_debug_info = True
    litellm.drop_params = False
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


async def serve(litellm: Any, path: str, stopped: asyncio.Event, ready: Any) -> None:
    """Listen on the socket until `stopped`."""
    runner = web.AppRunner(Worker(litellm).app(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        os.chmod(path, 0o600)
        ready()
        await stopped.wait()
    finally:
        await runner.cleanup()


async def _main(litellm: Any, path: str, answer: Any) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    # The pipe carries nothing more: readable means that it ended.
    loop.add_reader(sys.stdin.fileno(), stopped.set)

    def ready() -> None:
        answer.write(json.dumps({"ready": True}) + "\n")
        answer.flush()

    await serve(litellm, path, stopped, ready)


def main() -> int:
    """Load, listen, serve until the pipe closes."""
    die_with_parent()
    options = json.loads(sys.stdin.readline())
    # What libraries print must not come between the two lines of this protocol.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        litellm = load()
    except ImportError as fault:
        answer.write(json.dumps({"error": f"{type(fault).__name__}: {fault}"}) + "\n")
        answer.flush()
        return 1
    asyncio.run(_main(litellm, options["socket"], answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
