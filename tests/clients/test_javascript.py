"""The official JavaScript client of OpenAI on Node, unmodified, before every protocol."""

import json
import subprocess

import pytest
from real_servers import Server

from tests.clients.conftest import KEY
from tests.clients.environment import NODE, READY, folder


@pytest.mark.javascript
def test_the_javascript_client_works_unmodified(gateway: Server, back: str) -> None:
    """Chat, streams, tools, Responses; refusals and broken streams are thrown by their names."""
    home = folder()
    if not (home / READY).exists():
        pytest.skip("the JavaScript client is not here: run `make test-javascript`")
    command = [str(NODE), "client.mjs", gateway.url, KEY, back]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "chat": ["Hello from here", 13],
        "stream": "Hello from here",
        "tools": [["call_0", "Oslo"], ["call_1", "Rome"]],
        "response": "Hello from here",
        "events": ["response.created", "response.completed"],
        "refusal": ["RateLimitError", 429],
        "broken": "APIError",
    }
