"""Fixtures: real model servers (llama.cpp in the normal run, vLLM under its marker) and a real gateway process before them."""

import asyncio
import contextlib
import ctypes
import gzip
import http.server
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span  # noqa: TC002

T = TypeVar("T")
TESTS = Path(__file__).resolve().parents[1]
START = 240.0
"""Seconds that a server may take to get ready."""


@dataclass(frozen=True, slots=True)
class Server:
    """Something that speaks OpenAI's protocol: `url` ends in `/v1`."""

    kind: str
    url: str
    key: str
    model: str
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> str:
        """The address without `/v1`."""
        return self.url.removesuffix("/v1")


def free_port() -> int:
    """A port on loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def poll(condition: Callable[[], T | None], *, within: float, every: float = 0.05, what: str = "it") -> T:
    """Ask until the answer is true; fail when time runs out."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come to be within {within:g} s")
        time.sleep(every)


def fetch(url: str, timeout: float = 5.0) -> tuple[int, bytes]:
    """GET on loopback: status and body; status 0 when nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()
    except OSError:
        return 0, b""


def die_with_tests() -> None:
    """In a child, before it becomes its program: be told to end when the tests end, even by SIGKILL. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def start(
    command: list[str], log: Path, settings: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """A server in a process group of its own, its output in `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=settings,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_tests if sys.platform == "linux" else None,  # noqa: PLW1509 - it only makes one system call
        )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads its own group, and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    # Whoever of the group is still there, leader or not.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


@contextlib.contextmanager
def local_server(*, embedding: bool) -> Iterator[Server]:
    """A real llama.cpp on SmolLM2, as the product itself starts it."""

    # Late: a run that needs no model must not pay for the gateway's imports.
    from fw_gateway.providers.local import LocalModel, have, missing  # noqa: PLC0415

    if reason := missing():
        pytest.skip(reason)
    if have("smollm2") is None:
        pytest.skip("the model file is not here: run `fw model pull smollm2`")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="local-model", daemon=True)
    thread.start()
    model = LocalModel("smollm2", threads=1, embedding=embedding)
    try:
        url = asyncio.run_coroutine_threadsafe(model.start(), loop).result(START)
        yield Server("llamacpp", url, model.key, "smollm2")
    finally:
        asyncio.run_coroutine_threadsafe(model.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def llamacpp() -> Iterator[Server]:
    """One llama.cpp for all tests of this worker; it starts in about a second."""
    with local_server(embedding=False) as server:
        yield server


@pytest.fixture(scope="session")
def llamacpp_embeddings() -> Iterator[Server]:
    """One llama.cpp that serves embeddings, pooled by their mean."""
    with local_server(embedding=True) as server:
        yield server


def environment(name: str) -> ModuleType:
    """The script that makes a side environment (`vllm`, `litellm`), as a module."""
    spec = importlib.util.spec_from_file_location(f"{name}_environment", TESTS / name / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def litellm_python() -> str:
    """The interpreter that has litellm."""
    script = environment("litellm")
    if not (script.folder() / script.READY).exists():
        pytest.skip("litellm's environment is not made yet: run `make test-litellm`")
    return str(script.folder() / "bin" / "python")


@contextlib.contextmanager
def vllm_server(log: Path, *options: str, **variables: str) -> Iterator[Server]:
    """A real vLLM on CPU that serves SmolLM2, in a process group of its own."""
    script = environment("vllm")
    if reason := script.obstacle():
        pytest.skip(reason)
    folder = script.folder()
    if not (folder / script.READY).exists():
        pytest.skip("vLLM's environment is not made yet: run `make test-vllm`")
    port = free_port()
    command = [
        str(folder / "bin" / "vllm"),
        "serve",
        str(folder / "smollm2"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += [
        "--served-model-name",
        "smollm2",
        "--enforce-eager",
        "--max-model-len",
        "2048",
        "--max-num-seqs",
        "8",
        *options,
    ]
    settings = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        **variables,
    }
    process = start(command, log, settings)
    try:
        ready = f"http://127.0.0.1:{port}/health"

        def answer() -> bool:
            if process.poll() is not None:
                pytest.fail(f"vLLM ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
            return fetch(ready)[0] == 200

        poll(answer, within=START, every=0.25, what="vLLM")
        yield Server("vllm", f"http://127.0.0.1:{port}/v1", "", "smollm2", log, process)
    finally:
        end_group(process)


class Collector:
    """An OTLP receiver on loopback that keeps the spans it is sent."""

    def __init__(self) -> None:
        """Listen on a free port."""
        spans: list[Span] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                spans.extend(
                    span
                    for resource in request.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.spans = spans
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the real vLLM sends its own spans."""
    made = Collector()
    yield made
    made.close()


VLLM_OPTIONS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--enable-prompt-tokens-details")


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    """One vLLM for all tests of this run; it is ready in half a minute. Its spans go to `collector`."""
    options = (*VLLM_OPTIONS, "--otlp-traces-endpoint", f"{collector.url}/v1/traces")
    tracing = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with vllm_server(tmp_path_factory.mktemp("vllm") / "log", *options, **tracing) as server:
        yield server


@contextlib.contextmanager
def gateway_process(folder: Path, config: dict[str, Any] | None, **environment: str) -> Iterator[Server]:
    """A real gateway, as `fw up` starts it, in a process of its own."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "fw"), "up", "--port", str(port)]
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        # JSON is YAML.
        (folder / "fw.yaml").write_text(json.dumps(config))
        command += ["-c", str(folder / "fw.yaml")]
    settings = {
        **os.environ,
        "FW_STATE_DIR": str(folder / "state"),
        "FW_TRACES_FILE": str(folder / "traces.jsonl"),
        **environment,
    }
    log = folder / "gateway.log"
    process = start(command, log, settings, cwd=folder)
    try:
        ready = f"http://127.0.0.1:{port}/readyz"

        def answer() -> bool:
            if process.poll() is not None:
                pytest.fail(f"the gateway ended with {process.returncode}: {log.read_text(errors='replace')[-3000:]}")
            return fetch(ready)[0] == 200

        poll(answer, within=60, what="the gateway")
        yield Server("gateway", f"http://127.0.0.1:{port}/v1", settings.get("FW_API_KEY", ""), "", log, process)
    finally:
        end_group(process)
