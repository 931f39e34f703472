"""The embedded model's process: llama.cpp's own server on loopback. Run by path, imports only xllamacpp and the standard library.

Reads one line of JSON from stdin (model, alias, threads, context, parallel, embedding, key), writes one line of JSON to stdout
({"url": ...} or {"error": ...}), then serves until stdin ends: whoever holds the other end of that pipe is this process's life.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends. Elsewhere the pipe alone has to do."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A port on loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ANSWER = 384
"""Tokens of an answer when the caller names no limit: a small model may otherwise talk to itself until its window is full."""


def open_server(options: dict[str, Any]) -> Any:
    """Start llama.cpp's HTTP server; it serves from threads of its own once this returns."""
    import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra; its absence is answered

    params = xllamacpp.CommonParams()
    params.model.path = options["model"]
    params.model_alias = {options["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = free_port()
    params.api_keys = [options["key"]]
    params.n_ctx = options["context"]
    params.n_parallel = options["parallel"]
    params.n_predict = ANSWER
    params.cpuparams.n_threads = options["threads"]
    params.cpuparams_batch.n_threads = options["threads"]
    params.n_threads_http = 4
    params.n_gpu_layers = 0
    params.use_jinja = True
    params.cont_batching = True
    params.endpoint_metrics = True
    params.endpoint_props = False
    params.ui = False
    params.offline = True
    params.force_pure_content_parser = False
    params.verbosity = 0
    if options["embedding"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_ubatch = params.n_batch = options["context"] // options["parallel"]
    return xllamacpp.Server(params)


def _watch(done: threading.Event) -> None:
    """Wait for the pipe to close."""
    sys.stdin.read()
    done.set()


def main() -> int:
    """Serve until the pipe closes."""
    die_with_parent()
    options = json.loads(sys.stdin.readline())
    # What the library prints must not come between the two lines of this protocol.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        server = open_server(options)
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError) as fault:
        answer.write(json.dumps({"error": f"{type(fault).__name__}: {fault}"}) + "\n")
        answer.flush()
        return 1
    answer.write(json.dumps({"url": server.listening_address}) + "\n")
    answer.flush()
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    threading.Thread(target=_watch, args=(done,), daemon=True).start()
    done.wait()
    # llama.cpp has nothing to save; leaving at once beats waiting for generations that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
