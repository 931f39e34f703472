"""A gateway under test: its adapter's YAML, the config made of it, and the process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from ruamel.yaml import YAML

from tests.faults import raw
from tests.faults.suite.check import Check, Group

FOLDER = Path(__file__).parent / "adapters"
START = 60.0
"""Seconds that a gateway may take to get ready."""


class Unstartable(RuntimeError):
    """The gateway did not come up; the message has the end of its log."""


@dataclass(slots=True)
class Adapter:
    """What is known of a gateway."""

    given: dict[str, Any]

    @classmethod
    def load(cls, name: str) -> "Adapter":
        """An adapter by name or by path.

        Raises:
            OSError: there is none.
        """
        path = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
        return cls(YAML(typ="safe").load(path.read_text()))

    @property
    def name(self) -> str:
        return str(self.given["name"])

    @property
    def keys(self) -> list[str]:
        """One for each tenant."""
        return list(self.given["keys"])

    def seconds(self, name: str, default: float) -> float:
        """A limit."""
        return float(self.given.get(name, default))

    def header(self, name: str) -> str:
        """The name of a header by what it says; empty when there is none."""
        return str((self.given.get("headers") or {}).get(name) or "")

    def config(self, checks: list[Check], ports: dict[str, Any]) -> str:
        """The gateway's config: every group of every check."""
        parts = self.given["config"]
        values = {"replica0": ports["ports"][0]}
        text = Template(parts["head"]).substitute(values)
        for one in checks:
            for run in range(one.runs):
                for name, group in one.groups.items():
                    text += self._group(one.prefix(name, run), group, ports)
        return text

    def named(self, check: Check, group: str, url: str, ports: dict[str, Any]) -> str:
        """The gateway's config with one group of a check alone, at one place that is told by its url."""
        parts = self.given["config"]
        prefix = check.prefix(group)
        head = Template(parts["head"]).substitute(replica0=ports["ports"][0])
        first = Template(parts["group"]).substitute(prefix=prefix)
        return head + first + self._deployment(prefix, check.groups[group], "named", url)

    def _group(self, prefix: str, group: Group, ports: dict[str, Any]) -> str:
        text = Template(self.given["config"]["group"]).substitute(prefix=prefix)
        for port in group.ports:
            number = ports["ports"][port] if isinstance(port, int) else ports[port]
            tls = isinstance(port, str) and port.startswith("tls")
            url = f"https://localhost:{number}" if tls else f"http://127.0.0.1:{number}"
            text += self._deployment(prefix, group, f"r{port}".replace("_", "-"), url)
        return text

    def _deployment(self, prefix: str, group: Group, name: str, url: str) -> str:
        parts = self.given["config"]
        ttft = group.ttft or self.seconds("ttft", 10)
        return Template(parts["deployment"]).substitute(
            prefix=prefix,
            name=name,
            url=url,
            ttft=ttft,
            stall=group.stall or self.seconds("stall", 60),
            whole=Template(parts.get("whole", "")).substitute(ttft=ttft) if group.whole else "",
            at_once=group.at_once,
            speaks=parts.get("chat" if group.translated else "all", ""),
            provider=parts.get("own" if group.own else "hosted", ""),
        )


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """A running gateway."""

    def __init__(
        self,
        adapter: Adapter,
        folder: Path,
        config: str,
        *,
        authority: str = "",
        within: Callable[[list[str], Path], list[str]] | None = None,
    ) -> None:
        """`folder` is its own; its log is there. `within` makes of its command one that runs it in surroundings of its own."""
        self.adapter, self.folder = adapter, folder
        self.port = free_port()
        self.log = folder / "gateway.txt"
        path = folder / adapter.given["config"]["file"]
        path.write_text(config)
        values = {
            "python": sys.executable,
            "config": str(path),
            "port": str(self.port),
            "folder": str(folder),
            "key": adapter.keys[0],
            "secret": str(adapter.given["secret"]),
            "authority": authority,
        }
        self._command = [Template(part).substitute(values) for part in adapter.given["start"]]
        if within is not None:
            self._command = within(self._command, folder)
        settings = {name: Template(text).substitute(values) for name, text in adapter.given["env"].items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FW_", "OTEL_"))}
        self._env = {**kept, **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            Unstartable: it ended, or took too long.
        """
        self._process = process = self._launched()
        end = time.monotonic() + START
        question = raw.request(str(self.adapter.given["ready"]), b"", method="GET")
        while time.monotonic() < end and process.poll() is None:
            try:
                if raw.talk(self.port, question, wait=1.0).status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)
        self.stop()
        raise Unstartable(f"{self.adapter.name} did not get ready: {self.log.read_text()[-1500:]}")

    def _launched(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as out:
            return subprocess.Popen(
                self._command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self._env, cwd=self.folder
            )

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None
