"""Start the upstream as a process of its own, script it, and read its log: what suites and tests use."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Control:
    """The control API of a running upstream."""

    def __init__(self, ports: dict[str, Any]) -> None:
        """`ports` as it printed them."""
        self.ports = ports

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One exchange.

        Raises:
            ValueError: it did not like it.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["control"], timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found = json.loads(answer.read())
        if answer.status != 200:
            raise ValueError(found["error"])
        return found

    def log(self, **query: object) -> list[dict[str, Any]]:
        """Attempts, in order; by `nonce`, `mode`, `since` (a number), `light`."""
        found: list[dict[str, Any]] = self.ask("GET", f"/__log?{_query(query)}")
        return found

    def truth(self, **query: object) -> dict[str, Any]:
        """Usage emitted."""
        found: dict[str, Any] = self.ask("GET", f"/__truth?{_query(query)}")
        return found

    def state(self) -> dict[str, Any]:
        """What goes on now."""
        found: dict[str, Any] = self.ask("GET", "/__state")
        return found

    def script(self, **given: Any) -> None:
        """Take a script: `seed`, `nonces`, `ports`, `nonce` with `modes`."""
        self.ask("POST", "/__script", given)

    def reset(self) -> None:
        """Forget the log."""
        self.ask("POST", "/__reset", {})

    def over(self, nonce: str, seconds: float = 5.0) -> list[dict[str, Any]]:
        """The attempts of a nonce once all of them are over, or when time is up."""
        end = time.monotonic() + seconds
        while True:
            found = self.log(nonce=nonce)
            if (found and all(one["over"] for one in found)) or time.monotonic() > end:
                return found
            time.sleep(0.01)


def _query(query: dict[str, object]) -> str:
    return "&".join(f"{name}={value}" for name, value in query.items())


@contextlib.contextmanager
def running(
    replicas: int = 3, *, profile: str = "fast", seed: int = 1, log: Path | None = None
) -> Iterator[tuple[Control, int]]:
    """An upstream in a process of its own, which ends with the block or with us; its control and its pid."""
    command = [sys.executable, "-m", "tests.faults.upstream", "--until-eof"]
    command += ["--ports", str(replicas), "--profile", profile, "--seed", str(seed)]
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(log.open("wb")) if log is not None else None
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        try:
            line = process.stdout.readline() if process.stdout else b""
            if not line:
                raise RuntimeError(f"the upstream did not start; exit status {process.wait(10)}")
            yield Control(json.loads(line)), process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
