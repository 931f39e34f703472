"""A bridged provider through a real gateway: to a client it is a model like any other."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from real_servers import Server, gateway_process, litellm_python

pytestmark = [pytest.mark.litellm, pytest.mark.timeout(180)]

KEY = "sk-ant-through-the-gateway"
ASK = [{"role": "user", "content": "Say hello."}]
USAGE = {"input_tokens": 9, "output_tokens": 3}


class Anthropic(http.server.BaseHTTPRequestHandler):
    """Greets, whole or streamed; refuses any key but the one of this file."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["x-api-key"] != KEY:
            self._send(
                401, "application/json", json.dumps({"type": "error", "error": {"type": "authentication_error"}})
            )
        elif body.get("stream"):
            self._send(
                200, "text/event-stream", "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS)
            )
        else:
            whole = {**MESSAGE, "content": [{"type": "text", "text": "Hello there"}], "stop_reason": "end_turn"}
            self._send(200, "application/json", json.dumps(whole))

    def _send(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
    {"type": "message_stop"},
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway whose Claude is the server above."""
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Anthropic)
    thread = threading.Thread(target=upstream.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{upstream.server_address[1]}"
    # The bridge's process takes seconds to load; the first event may wait for it.
    price = {"input": "1 USD/Mtok", "output": "5 USD/Mtok"}
    entry = {"provider": "litellm", "url": url, "model": "anthropic/claude-haiku-4-5", "key_env": "ANTHROPIC_API_KEY"}
    config = {"models": {"claude": {"deployments": [{**entry, "price": price}]}}}
    variables = {"FW_LITELLM_PYTHON": litellm_python(), "ANTHROPIC_API_KEY": KEY}
    try:
        with gateway_process(tmp_path_factory.mktemp("bridged"), config, **variables) as server:
            yield server
    finally:
        upstream.shutdown()
        thread.join(10)
        upstream.server_close()


@pytest.fixture
def client(gateway: Server) -> Iterator[openai.OpenAI]:
    """The official client."""
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=90) as made:
        yield made


def test_a_bridged_model_answers_and_is_priced(client: openai.OpenAI) -> None:
    """Whole: the text, the usage, and a cost from the price table."""
    answer = client.chat.completions.with_raw_response.create(model="claude", messages=ASK, max_tokens=16)
    parsed = answer.parse()
    assert parsed.choices[0].message.content == "Hello there"
    assert parsed.usage is not None
    assert (parsed.usage.prompt_tokens, parsed.usage.completion_tokens) == (9, 3)
    assert answer.headers["x-fw-model"] == "claude"
    assert float(answer.headers["x-fw-cost"]) > 0


def test_a_bridged_model_streams(client: openai.OpenAI) -> None:
    """Streamed: the pieces, the usage that was asked for, a proper end."""
    with client.chat.completions.create(
        model="claude", messages=ASK, max_tokens=16, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello there"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_the_key_is_nowhere_on_disk(gateway: Server, client: openai.OpenAI) -> None:
    """Neither logs nor traces nor rows hold the provider's key."""
    client.chat.completions.create(model="claude", messages=ASK, max_tokens=16)
    assert gateway.log is not None
    files = [path for path in Path(gateway.log).parent.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []
