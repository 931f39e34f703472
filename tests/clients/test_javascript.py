"""Clients of JavaScript on Node, unmodified, before every protocol: OpenAI's own, and Vercel's AI SDK."""

import json
import subprocess
from typing import Any

import pytest
from real_servers import Server

from tests.clients.conftest import KEY
from tests.clients.environment import NODE, READY, folder


def said(program: str, gateway: Server, back: str) -> Any:
    """What a program of ours found with its client."""
    home = folder()
    if not (home / READY).exists():
        pytest.skip("the JavaScript clients are not here: run `make test-javascript`")
    command = [str(NODE), program, gateway.url, KEY, back]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.javascript
def test_the_javascript_client_works_unmodified(gateway: Server, back: str) -> None:
    """Chat, streams, tools, Responses; refusals and broken streams are thrown by their names."""
    assert said("client.mjs", gateway, back) == {
        "chat": ["Hello from here", 13],
        "stream": "Hello from here",
        "tools": [["call_0", "Oslo"], ["call_1", "Rome"]],
        "response": "Hello from here",
        "events": ["response.created", "response.completed"],
        "refusal": ["RateLimitError", 429],
        "broken": "APIError",
    }


@pytest.mark.javascript
def test_vercels_ai_sdk_works_unmodified(gateway: Server, back: str) -> None:
    """Text, streams, tools and objects in each of the three protocols that it speaks; a refusal and a broken stream are told as such."""
    cities = [["call_0", "Oslo"], ["call_1", "Rome"]]
    expected = {
        "text": ["Hello from here", "stop", 13],
        "stream": ["Hello from here", "stop", 13],
        "tools": cities,
        "streamed_tools": cities,
        "object": {"city": "Paris", "people": 2},
        "refusal": ["AI_APICallError", 429],
        "broken": 1,
    }
    assert said("vercel.mjs", gateway, back) == dict.fromkeys(("chat", "responses", "messages"), expected)
