"""A local model's process: started with a key of its own on a free loopback port, ended with whoever started it."""

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from fw_gateway import clock
from fw_gateway.config import process_environment
from fw_gateway.providers.local.models import ensure

START_DEADLINE = 60.0
"""Seconds that loading may take; SmolLM2 needs one or two."""
_STOP_DEADLINE = 5.0
_SERVER = Path(__file__).with_name("server.py")
_PRIVATE = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


class LocalModelError(Exception):
    """The model's process cannot be started, or did not get ready. The message says what to do."""


def missing() -> str:
    """What this installation lacks to run a local model, and the command that brings it; empty: nothing."""
    if importlib.util.find_spec("xllamacpp") is not None:
        return ""
    return (
        "llama.cpp is not installed: run `pip install 'fwsdk[local]'`. If there is no wheel for this system, run `ollama serve` "
        "or a llama.cpp server and name it in a config with `provider: ollama` or `provider: llamacpp`."
    )


class LocalModel:
    """One llama.cpp server that this process owns. `start` once, `stop` always; it dies with its owner in any case."""

    def __init__(
        self,
        name: str = "smollm2",
        threads: int = 1,
        *,
        embedding: bool = False,
        context: int = 8192,
        parallel: int = 2,
        file: Path | None = None,
    ) -> None:
        """Describe it; nothing starts yet.

        Args:
            name: a local model of the catalog; also what the server answers as.
            threads: one is the robust choice on shared cores.
            embedding: serve `/v1/embeddings` too (mean pooling).
            context: tokens over all `parallel` slots together.
            parallel: requests served at once.
            file: a GGUF file to run instead of the catalog's.
        """
        self.name = name
        self.key = clock.secret()
        self.base_url = ""
        self._file = file
        self._options = {
            "alias": name,
            "threads": threads,
            "embedding": embedding,
            "context": context,
            "parallel": parallel,
            "key": self.key,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> str:
        """Start it and wait until it serves; its base url, ending in `/v1`. Fetches the model's file if it is not here.

        Raises:
            LocalModelError: llama.cpp is not installed, the file cannot be loaded, or it was not ready in time.
            PullError: the model's file is not here and cannot be fetched.
        """
        if self._process is not None:
            return self.base_url
        if reason := missing():
            raise LocalModelError(reason)
        file = self._file or await asyncio.to_thread(ensure, self.name)
        environment = {
            name: value for name, value in process_environment().items() if not any(word in name for word in _PRIVATE)
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # this folder holds modules whose names must not hide others
            str(_SERVER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the gateway, which still has answers to finish
        )
        try:
            answer = await self._hello({**self._options, "model": str(file)})
        except BaseException:
            await self.stop()
            raise
        self.base_url = f"{answer}/v1"
        return self.base_url

    async def _hello(self, options: dict[str, object]) -> str:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise LocalModelError("the local model's process has no pipes.")
        line = b""
        try:
            async with asyncio.timeout(START_DEADLINE):
                with contextlib.suppress(ConnectionError):
                    process.stdin.write(json.dumps(options).encode() + b"\n")
                    await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            message = f"the local model {self.name} was not ready after {START_DEADLINE:g} s."
            raise LocalModelError(f"{message} {self._tail()}".strip()) from None
        answer = _answer(line)
        if "url" in answer:
            return answer["url"]
        reason = answer.get("error", "its process ended").rstrip(".")
        message = f"llama.cpp could not load {options['model']}: {reason}."
        hint = f"`fw model pull {self.name} --force` fetches the file again."
        raise LocalModelError(f"{message} {hint} {self._tail()}".strip())

    def _tail(self) -> str:
        """The last lines it logged."""
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 600))
        text = self._log.read().decode(errors="replace").strip()
        return f"It said: {text}" if text else ""

    async def wait(self) -> int:
        """Until it ends, by itself or by `stop`; its exit code."""
        return 0 if self._process is None else await self._process.wait()

    async def stop(self) -> None:
        """End it. Safe to call twice, and when it never started."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                async with asyncio.timeout(_STOP_DEADLINE):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None


def _answer(line: bytes) -> dict[str, str]:
    """The one line that the process says when it serves, or cannot."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, dict) else {}
