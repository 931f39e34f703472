"""`fw up --workers N`: N processes of one config behind one port, and the one that starts them, and starts again what crashes."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fw_gateway import clock
from fw_gateway.config import Config
from fw_gateway.state import runs
from fw_policies.spec import Policy, checks
from fw_policies.spec.model import Rules

RESTART = 1.0
"""Seconds that a worker must have lived to be started again at once."""
GRACE = 15.0
"""Seconds beyond the drain after which a worker that does not end is killed."""
_log = logging.getLogger("fw.workers")


def unfit(config: Config) -> str:
    """Why this config cannot be served by several processes; empty: it can."""
    if not hasattr(socket, "SO_REUSEPORT") or sys.platform != "linux":
        return "--workers needs Linux: elsewhere the system does not share connections out among processes."
    models = sorted({endpoint.embedded for endpoint in config.endpoints if endpoint.embedded})
    if models:
        return f"--workers would start {', '.join(models)} once a worker: run llama.cpp yourself, and name its url."
    for name, policy in sorted(config.policies.items()):
        if any(not checks.is_built_in(check) for rules in _rules(policy) for check in rules.verify):
            return f"--workers: the verdicts that policy {name} waits for may reach another worker; serve it without."
    return ""


def _rules(policy: Policy) -> Iterator[Rules]:
    yield policy.default
    yield from policy.steps.values()
    for cases in policy.cases.values():
        yield from (case.rules for case in cases)


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for the workers. It does not listen, so nothing is ever connected to it.

    Raises:
        OSError: somebody listens there already.
    """
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, proto) as alone:  # which another gateway's workers would not let in
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        address = alone.getsockname()
    kept = socket.socket(family, kind, proto)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError:
        kept.close()
        raise
    return kept


class Workers:
    """Runs `count` processes of one command until it is told to stop."""

    def __init__(self, command: Sequence[str], count: int, drain: float, ready: Callable[[], None]) -> None:
        """Each prints a line when it serves; `ready` is called once all have. `drain`: seconds that they need to end."""
        self._command, self._count, self._drain = command, count, drain
        self._ready = ready
        self._live: dict[int, asyncio.subprocess.Process] = {}
        self._serving: set[int] = set()
        self._all_up = False
        self._stop = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """The exit code: 0 after a clean end, else that of what could not start, or 1."""
        loop = asyncio.get_running_loop()
        for sent in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sent, self.end)
        up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(0, up))
            await up.wait()  # one alone brings the state directory up to date
            for number in range(1, self._count):
                group.create_task(self._keep(number, asyncio.Event()))
        return self._code

    def end(self) -> None:
        """Tell all to finish what they have begun; told twice, they hurry."""
        first = not self._stop.is_set()
        self._stop.set()
        for process in self._live.values():
            self._send(process, signal.SIGTERM)
        if first:
            asyncio.get_running_loop().call_later(self._drain + GRACE, self._kill)

    def _kill(self) -> None:
        for process in self._live.values():
            self._send(process, signal.SIGKILL)

    @staticmethod
    def _send(process: asyncio.subprocess.Process, number: int) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(number)

    async def _keep(self, number: int, up: asyncio.Event) -> None:
        """One worker, again and again."""
        try:
            while not self._stop.is_set():
                began = clock.monotonic()
                code = await self._once(number, up)
                if self._stop.is_set():
                    self._code = self._code or (1 if code else 0)
                elif not self._all_up:
                    self._code = code if code > 0 else 1
                    self.end()
                else:
                    _log.warning("worker %s ended with %s; it is started again", number, code)
                    if clock.monotonic() - began < RESTART:
                        with suppress(TimeoutError):
                            async with asyncio.timeout(RESTART):
                                await self._stop.wait()
        finally:
            up.set()

    async def _once(self, number: int, up: asyncio.Event) -> int:
        """Start a worker and wait for its end; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *("--worker", f"{number + 1}/{self._count}"),
            stdin=asyncio.subprocess.PIPE,  # closes when this process is gone: then the worker ends too
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C comes from here alone, once
        )
        self._live[number] = process
        if self._stop.is_set():
            self._send(process, signal.SIGTERM)
        if process.stdout is not None and await process.stdout.readline():
            self._serving.add(number)
            up.set()
            if len(self._serving) == self._count and not self._all_up:
                self._all_up = True
                self._ready()
        code = await process.wait()
        del self._live[number]
        return code


def run(command: Sequence[str], config: Config, ready: Callable[[str], None]) -> int:
    """Serve with `config.server.workers` processes of `command`; `ready` is called with the url once all listen.

    Raises:
        OSError: the address cannot be listened on.
    """
    server = config.server
    for end in ("", "-wal", "-shm"):
        Path(server.state_dir, runs.FILE + end).unlink(missing_ok=True)
    with reserve(server.host, server.port) as kept:
        port = kept.getsockname()[1]
        shown = f"[{server.host}]" if ":" in server.host else server.host

        async def supervise() -> int:
            workers = Workers(
                [*command, "--port", str(port)], server.workers, server.drain, lambda: ready(f"http://{shown}:{port}")
            )
            return await workers.run()

        return asyncio.run(supervise())
