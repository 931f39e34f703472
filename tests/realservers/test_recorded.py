"""Tools that a model chooses by itself, from an exchange replayed in OpenAI's form (written down from the API's reference, not captured).

No small model does that dependably, and none of the large ones is within reach of a test.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from real_servers import Server, gateway_process

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "parallel_tools.json").read_text())
CITIES = ["Oslo", "Rome"]


class Replay(http.server.BaseHTTPRequestHandler):
    """Answers with the recording, and keeps what it was asked."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        if body.get("stream"):
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in RECORDED["stream"]]
            self._send("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))
        else:
            self._send("application/json", json.dumps(RECORDED["whole"]))

    def _send(self, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def asked() -> list[dict[str, Any]]:
    """Every body that reached the upstream."""
    return []


@pytest.fixture(scope="module")
def gateway(asked: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway before the recording."""
    handler = type("Handler", (Replay,), {"asked": asked})
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=upstream.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
    entry = {"provider": "openai_compatible", "url": url, "model": "recorded-1"}
    capabilities = ["chat", "stream", "tools", "tool_choice", "parallel_tools"]
    config = {"models": {"helper": {"capabilities": capabilities, "deployments": [entry]}}}
    try:
        with gateway_process(tmp_path_factory.mktemp("recorded"), config) as server:
            yield server
    finally:
        upstream.shutdown()
        thread.join(10)
        upstream.server_close()


@pytest.fixture
def client(gateway: Server) -> Iterator[openai.OpenAI]:
    """The official client."""
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=30) as made:
        yield made


def test_two_tools_chosen_at_once_arrive_whole(client: openai.OpenAI, asked: list[dict[str, Any]]) -> None:
    """Both calls, their ids and arguments; the request reached the upstream as it was but for the model's name."""
    answer = client.chat.completions.create(model="helper", **RECORDED["request"])
    calls = answer.choices[0].message.tool_calls or []
    assert [call.id for call in calls] == ["call_a1", "call_b2"]
    assert [json.loads(call.function.arguments)["city"] for call in calls] == CITIES
    assert answer.choices[0].finish_reason == "tool_calls"
    assert asked[-1] == {**RECORDED["request"], "model": "recorded-1"}


def test_two_tools_chosen_at_once_can_be_put_together_from_a_stream(client: openai.OpenAI) -> None:
    """The pieces keep their index, so that a client joins them into two calls; a stream without visible text is no failure."""
    arguments: dict[int, str] = {}
    finish = None
    with client.chat.completions.create(model="helper", stream=True, **RECORDED["request"]) as stream:
        for chunk in stream:
            assert chunk.choices, "the usage chunk was not asked for"
            finish = chunk.choices[0].finish_reason or finish
            for part in chunk.choices[0].delta.tool_calls or []:
                arguments[part.index] = arguments.get(part.index, "") + (part.function.arguments or "")
    assert [json.loads(text)["city"] for _, text in sorted(arguments.items())] == CITIES
    assert finish == "tool_calls"
