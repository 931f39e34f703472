"""The parent's side of the litellm process: started at first use, reached over a unix socket, ended with its owner."""

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

from fw_gateway.config import Endpoint, environment, process_environment
from fw_gateway.errors import NoCandidate

START_DEADLINE = 90.0
"""Seconds that loading litellm may take; 8 to 12 were measured for the first time, 3 after."""
_STOP_DEADLINE = 5.0
_WORKER = Path(__file__).with_name("worker.py")
_INSTALL = "python -m venv .litellm && .litellm/bin/pip install 'litellm>=1.105,<2' && export FW_LITELLM_PYTHON=$PWD/.litellm/bin/python"
_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no price list from the network
    "LITELLM_MODE": "PRODUCTION",  # no .env file
    "LITELLM_LOG": "CRITICAL",
    "LITELLM_TELEMETRY": "False",
}


def interpreter() -> str:
    """The Python that has litellm: `FW_LITELLM_PYTHON`, else this one if it can import it; empty: there is none."""
    named = environment().get("FW_LITELLM_PYTHON", "")
    if named:
        return named if shutil.which(named) else ""
    return sys.executable if importlib.util.find_spec("litellm") is not None else ""


def missing() -> str:
    """What to do before bridged providers can serve; empty: nothing."""
    if interpreter():
        return ""
    named = environment().get("FW_LITELLM_PYTHON", "")
    if named:
        return f"FW_LITELLM_PYTHON is {named}, which cannot be run. Make it anew: `{_INSTALL}`."
    return f"Install litellm beside the gateway: `{_INSTALL}`."


def base_url(endpoint: Endpoint) -> str:
    """Where the worker serves this endpoint; the provider's own address, if the config gives one, is part of the path."""
    own = base64.urlsafe_b64encode(endpoint.url.encode()).decode().rstrip("=") if endpoint.url else "-"
    return f"http://litellm/{endpoint.row.name}/{own}/v1"


def _child_environment() -> dict[str, str]:
    """Ours, without the keys: each request brings the one that it needs. Clouds that sign requests find theirs (AWS_*, GOOGLE_*)."""
    kept = {name: value for name, value in process_environment().items() if not name.endswith("_API_KEY")}
    return {name: value for name, value in kept.items() if not name.startswith(("FW_", "OTEL_"))} | _QUIET


class Bridge:
    """One litellm process for all bridged providers. `stop` always; it dies with its owner in any case.

    An attempt posts to `base_url(endpoint)` through the socket that `start` returns, with the provider's key as its bearer.
    """

    def __init__(self) -> None:
        """Nothing starts yet."""
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> str:
        """The socket's path, once the process listens there; starts it when it is not running, also after it died.

        Raises:
            NoCandidate: litellm is not installed, or its process does not start.
        """
        async with self._starting:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="fw-litellm-")
            path = str(Path(self._folder.name) / "socket")
            if self.pid is None:
                await self._spawn(path)
            return path

    async def _spawn(self, path: str) -> None:
        if not (python := interpreter()):
            raise NoCandidate("This provider is served through litellm, which is not installed.", hint=missing())
        if self._log is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the bridge
        try:
            self._process = await asyncio.create_subprocess_exec(
                python,
                "-I",  # nothing of this folder, nothing of the user's, may come before litellm's own packages
                str(_WORKER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._log,
                env=_child_environment(),
            )
        except OSError as fault:
            raise NoCandidate(f"{python} cannot be run: {fault.strerror}.", hint=missing()) from None
        try:
            await self._hello(path, python)
        except BaseException:
            await self._end()
            raise

    async def _hello(self, path: str, python: str) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise NoCandidate("The litellm process has no pipes.")
        line = b""
        try:
            async with asyncio.timeout(START_DEADLINE):
                with contextlib.suppress(ConnectionError):
                    process.stdin.write(json.dumps({"socket": path}).encode() + b"\n")
                    await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            raise NoCandidate(f"litellm was not ready after {START_DEADLINE:g} s. {self._tail()}".strip()) from None
        if not line.startswith(b'{"ready"'):
            reason = json.loads(line).get("error", "") if line.startswith(b"{") else self._tail()
            raise NoCandidate(
                f"{python} cannot load litellm: {reason or 'it ended'}.", hint=f"Install it: `{_INSTALL}`."
            )

    def _tail(self) -> str:
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 600))
        return self._log.read().decode(errors="replace").strip()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_DEADLINE):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def wait(self) -> None:
        """Until the process that runs now has ended; at once when none does."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """End it and remove its socket. Safe to call twice, and when it never started."""
        await self._end()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
