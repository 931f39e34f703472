"""`fw doctor` asks each self-hosted server what it serves: names that a deployment may use, LoRA adapters among them."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.cli.doctor import examine

MODELS = {"object": "list", "data": [{"id": "qwen", "object": "model"}, {"id": "sql-lora", "parent": "qwen"}]}


class Answers(http.server.BaseHTTPRequestHandler):
    """A server that lists its models, and one that does not."""

    def do_GET(self) -> None:
        body = json.dumps(MODELS if self.path == "/v1/models" else []).encode()
        self.send_response(404 if self.path.startswith("/none") else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Where it listens."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(5)
    server.server_close()


def found(folder: Path, **deployment: Any) -> tuple[str, str, str]:
    """State, words and cure for one deployment."""
    config = {"models": {"coder": {"deployments": [{"provider": "vllm", "machine_hour": "1 USD", **deployment}]}}}
    path = folder / "fw.yaml"
    path.write_text(json.dumps(config))
    [finding] = [one for one in examine(str(path)) if one.check.startswith("coder@")]
    return finding.state, finding.found, finding.fix


def test_a_server_is_asked_what_it_serves(url: str, tmp_path: Path) -> None:
    """An adapter is a model like any other: `model` names it."""
    state, words, _ = found(tmp_path, url=f"{url}/v1", model="sql-lora")
    assert state == "ok"
    assert words.endswith("serves qwen, sql-lora")


@pytest.mark.parametrize(
    ("path", "model", "words", "cure"),
    [
        ("/v1", "qwem", "does not serve `qwem`", "qwen, sql-lora"),
        ("/none", "qwen", "answers 404", "url"),
        ("/other", "qwen", "no such list", "url"),
    ],
)
def test_what_does_not_fit_is_said_with_its_cure(
    url: str, tmp_path: Path, path: str, model: str, words: str, cure: str
) -> None:
    """A wrong name, a server that lists nothing, an answer that is no list: warnings, for calls may work all the same."""
    state, said, fix = found(tmp_path, url=url + path, model=model)
    assert (state, words in said, cure in fix) == ("warn", True, True)


def test_a_server_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    """It may be started later."""
    state, said, _ = found(tmp_path, url="http://127.0.0.1:9/v1")
    assert state == "warn"
    assert "nothing answers" in said
