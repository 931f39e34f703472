"""Commands that speak to a gateway: a scripted one for what can go wrong, the real one for what goes right."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Scripted:
    """A server on loopback that gives the same answer to everything, and remembers what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A scripted gateway."""
    script = Scripted()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.path, headers, self.rfile.read(length)))
            self.send_response(script.status)
            self.send_header("content-length", str(len(script.body)))
            self.end_headers()
            self.wfile.write(script.body)

        do_POST = do_GET  # noqa: N815 - the name that the library looks for

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def event(**delta: str) -> bytes:
    """One chunk of a chat stream."""
    chunk = {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
RECEIPT = b': fw-receipt {"cost": "0.000012", "usage": {"completion_tokens": 2}, "model": "m", "ttft": 0.05}\n\n'


def test_chat_streams_the_answer_and_says_what_it_cost(fw, scripted: Scripted) -> None:
    """The answer on standard output, the receipt on standard error."""
    scripted.body = event(content="Hello") + event(content=" ☀") + RECEIPT + DONE
    done = fw(
        "chat", "Say", "hello", "--model", "coding/edit", "--system", "Be brief.", FW_URL=scripted.url, FW_API_KEY="k-1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello ☀\n"
    assert done.stderr == "[m · 2 tokens · first after 0.05 s · $0.000012]\n"
    [(path, headers, body)] = scripted.asked
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer k-1"
    assert headers["x-fw-receipt"] == "1"
    asked = json.loads(body)
    assert asked["model"] == "coding/edit"
    assert [message["content"] for message in asked["messages"]] == ["Be brief.", "Say hello"]


def test_chat_json_is_one_value(fw, scripted: Scripted) -> None:
    """For programs."""
    scripted.body = event(content="Hello") + RECEIPT + DONE
    report = json.loads(fw("chat", "x", "--json", FW_URL=scripted.url).stdout)
    assert report["text"] == "Hello"
    assert report["receipt"]["cost"] == "0.000012"


def test_what_is_unknown_is_said_to_be(fw, scripted: Scripted) -> None:
    """No receipt: no invented zero."""
    scripted.body = event(content="Hello") + DONE
    assert (
        fw("chat", "x", FW_URL=scripted.url).stderr == "[m · tokens unknown · time to first unknown · cost unknown]\n"
    )


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, event(content="Hal"), "the answer was cut off"),
        (200, event(content="Hal") + b'data: {"error": {"message": "upstream broke"}}\n\n', "upstream broke"),
        (200, b"data: {\n\n", "no event of a chat stream"),
        (404, b'{"error": {"message": "No model is called x."}}', "No model is called x."),
        (500, b"<html>", "the gateway answered 500"),
    ],
)
def test_an_answer_that_fails_is_a_failure(status: int, body: bytes, said: str, fw, scripted: Scripted) -> None:
    """Never shown as a success: exit code 1 and the reason."""
    scripted.status, scripted.body = status, body
    done = fw("chat", "x", FW_URL=scripted.url)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_gateway_chat_says_how_to_start_one(fw) -> None:
    """Nothing listens on the discard port."""
    done = fw("chat", "x", FW_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Start one with `fw up`" in done.stderr


def test_a_url_that_is_none_is_a_usage_error(fw) -> None:
    """FW_URL is named."""
    done = fw("chat", "x", FW_URL="file:///etc/passwd")
    assert done.returncode == 2
    assert "FW_URL is not an http(s) url" in done.stderr


def test_explain_decision_asks_the_running_gateway(fw, scripted: Scripted) -> None:
    """Text for people, the mapping for machines."""
    scripted.body = json.dumps({"text": "coding/edit …", "decision": {"decision_id": "01X"}}).encode()
    assert fw("explain", "decision", "01X", FW_URL=scripted.url).stdout == "coding/edit …\n"
    assert json.loads(fw("explain", "decision", "01X", "--json", FW_URL=scripted.url).stdout) == {"decision_id": "01X"}
    assert scripted.asked[0][0] == "/v1/decisions/01X"


SPAN = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "spanId": "00f067aa0ba902b7",
    "name": "route coding/edit",
    "kind": 1,
    "startTimeUnixNano": "1000000000",
    "endTimeUnixNano": "1500000000",
}


def test_trace_show_prints_the_newest_trace(fw, tmp_path: Path) -> None:
    """By default from the file that the gateway writes; by the start of an id; as JSON."""
    line = json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "fw"}, "spans": [SPAN]}]}]})
    (tmp_path / "t.jsonl").write_text(line + "\n")
    file = str(tmp_path / "t.jsonl")
    assert "route coding/edit" in fw("trace", "show", FW_TRACES_FILE=file).stdout
    assert "route coding/edit" in fw("trace", "show", "4bf92", "--file", file).stdout
    assert json.loads(fw("trace", "show", "--json", FW_TRACES_FILE=file).stdout)["trace_id"] == SPAN["traceId"]
    missing = fw("trace", "show", "ffff", FW_TRACES_FILE=file)
    assert missing.returncode == 1
    assert "there is no trace `ffff`" in missing.stderr


def test_trace_show_without_a_file_says_where_it_looked(fw, tmp_path: Path) -> None:
    """And what to name."""
    done = fw("trace", "show", FW_TRACES_FILE=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "cannot be read: No such file" in done.stderr


def test_the_server_loads_neither_the_command_line_nor_the_price_library() -> None:
    """What `fw up` imports, in a fresh interpreter."""
    heavy = ("typer", "rich", "click", "genai_prices", "xllamacpp", "litellm", "numpy", "scipy", "langgraph")
    script = (
        f"import sys, fw_gateway.cli.up, fw_gateway.app; print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@contextlib.contextmanager
def up(folder: Path, *argv: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """A real `fw up` on a free port; the process and what it reported when it was ready."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FW_")}
    command = [sys.executable, "-m", "fw_gateway", "up", "--port", "0", "--json", *argv]
    settings = {**clean, "FW_STATE_DIR": str(folder / "state"), **env}
    with (
        (folder / "err").open("w") as err,
        subprocess.Popen(command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=err, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "err").read_text()
            yield process, json.loads(line)
        finally:
            process.kill()


def resident(pid: int) -> float:
    """MiB in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.slow
def test_up_with_no_file_serves_the_embedded_model(fw, smollm2: Path, tmp_path: Path) -> None:
    """Ready, answers `fw chat`, explains the run, shows its trace, stays small, ends with 0 on SIGTERM and leaves no process."""
    with up(tmp_path) as (process, report):
        url = str(report["url"])
        assert report["event"] == "ready"
        assert report["openai_base_url"] == f"{url}/v1"
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            assert answer.status == 200
        done = fw("chat", "Say hello.", "--max-tokens", "8", FW_URL=url)
        assert done.returncode == 0, done.stderr + (tmp_path / "err").read_text()
        assert done.stdout.strip()
        assert "smollm2" in done.stderr
        if sys.platform == "linux":
            assert resident(process.pid) < 100
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    shown = fw("trace", "show", FW_URL="http://127.0.0.1:9")
    assert shown.returncode == 0, shown.stderr
    assert "route" in shown.stdout


@pytest.mark.slow
def test_up_on_a_taken_port_says_what_to_do(smollm2: Path, fw, tmp_path: Path) -> None:
    """Exit code 1, the port, and the next one."""
    (tmp_path / "fw.yaml").write_text('models: {m: {deployments: [{provider: vllm, url: "http://127.0.0.1:9/v1"}]}}\n')
    with up(tmp_path, "-c", "fw.yaml") as (_, report):
        port = str(report["url"]).rpartition(":")[2]
        done = fw("up", "-c", "fw.yaml", "--port", port)
    assert done.returncode == 1
    assert f"fw up --port {int(port) + 1}" in done.stderr
    assert "Traceback" not in done.stderr
