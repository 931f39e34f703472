"""A gateway as its users have it: a process started from a config file, spoken to over a socket."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.endtoend.upstream import Upstream

DEADLINE = 30.0


@dataclass
class Answer:
    """What a client got: everything until the connection or the body ended."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's shape; its absence is a failure."""
        found = self.json["error"]
        assert set(found) >= {"message", "type", "param", "code"}
        assert isinstance(found["message"], str)
        return dict(found)

    @property
    def events(self) -> list[str]:
        """`data:` of each event of a stream."""
        blocks = self.body.decode().replace("\r\n", "\n").split("\n\n")
        return [block.removeprefix("data: ") for block in blocks if block.startswith("data:")]

    @property
    def text(self) -> str:
        """All visible content of a stream."""
        chunks = [json.loads(event) for event in self.events if event != "[DONE]"]
        return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", []))


class Gateway:
    """A running `fw up`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = DEADLINE,
    ) -> Answer:
        """One exchange on a connection of its own; a body cut short is returned as far as it came."""
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            try:
                data = response.read()
            except http.client.IncompleteRead as cut:
                data = cut.partial
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, data, time.monotonic() - start)

    def chat(self, model: str, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """A chat completion; streams when `stream=True`."""
        body = {"model": model, "messages": [{"role": "user", "content": "Say the words."}], **fields}
        return self.ask(
            "POST",
            "/v1/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json", **(headers or {})},
        )

    @property
    def traces(self) -> Path:
        return self.folder / "traces.jsonl"

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "it") -> Any:
    """The first true value of `condition`; fails when time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


def ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the gateway ended while starting"
    with (
        contextlib.suppress(OSError),
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection,
    ):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


@contextlib.contextmanager
def gateway_of(config: str, folder: Path, **env: str) -> Iterator[Gateway]:
    """`fw up -c` with a config, ended with SIGTERM; its log must hold no traceback."""
    (folder / "fw.yaml").write_text(config)
    port = free_port()
    command = [sys.executable, "-m", "fw_gateway", "up", "-c", str(folder / "fw.yaml"), "--port", str(port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FW_", "OTEL_"))}
    settings = {"FW_STATE_DIR": str(folder / "state"), "FW_TRACES_FILE": str(folder / "traces.jsonl"), **env}
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**clean, **settings})
        gateway = Gateway(process, port, folder)
        try:
            until(lambda: ready(port, process), DEADLINE, "readiness")
            yield gateway
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError("SIGTERM did not end the gateway") from None
    assert "Traceback" not in gateway.log(), gateway.log()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.close()


def config_for(upstream: Upstream) -> str:
    """Every fault as a pinned model, and each fault again with a healthy deployment behind it (`safe-<mode>`)."""
    faults = ["reset", "close", "500", "503", "429", "401", "short", "badjson", "empty", "html"]
    faults += [
        f"{kind}:{i}" for kind in ("cut_noterm", "cut_rst", "cut_close", "cut_clean", "cut_done", "err") for i in (0, 1)
    ]
    lines = [
        "models:",
        '  "fx-*":',
        f"    deployments: [{{provider: vllm, url: '{upstream.url}', machine_hour: 1.00 USD}}]",
    ]
    for fault in faults:
        lines += [f'  "safe-{fault}":', "    deployments:"]
        for name, mode in (("bad", fault), ("good", "ok")):
            place = f"name: {name}, provider: vllm, url: '{upstream.url}', model: 'fx-{mode}', machine_hour: 1.00 USD"
            lines.append(f"      - {{{place}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_of(config_for(upstream), tmp_path_factory.mktemp("gateway")) as found:
        yield found
