"""`python -m tests.faults.suite.slow PORT COUNT`: slow sockets from a process of their own, so that they cost the one that measures nothing.

Every second one sends the head of a request, a byte each second; the others send nothing. It says `open` when all are, and, once its input
ends, how many of them still are.
"""

import asyncio
import contextlib
import select
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.faults import raw

APART = 0.002
"""Seconds between two that are opened: a burst is another matter."""
HEAD = raw.request("/v1/chat/completions", b"")[:-2] + b"x-slow: "


@dataclass(slots=True)
class Crowd:
    """Slow sockets beside what is measured."""

    left: int = 0
    """How many were still open at the end."""


@contextlib.asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[Crowd]:
    """Have that many slow sockets open at a server while the block runs."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(port), str(count), stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    found = Crowd()
    try:
        async with asyncio.timeout(30):
            await process.stdout.readline()
        yield found
        process.stdin.close()
        async with asyncio.timeout(5):
            found.left = int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _still_open(peer: socket.socket) -> bool:
    """Whether nothing came yet: neither an end nor an answer, which would be one."""
    try:
        peer.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def main(port: int, count: int) -> None:
    """Open them, let every second one drip, until the input ends."""
    peers = []
    for _ in range(count):
        peers.append(socket.create_connection(("127.0.0.1", port)))
        time.sleep(APART)
    dripping = peers[::2]
    for peer in dripping:
        peer.send(HEAD)
    print("open", flush=True)
    at = 0
    while not select.select([sys.stdin], [], [], 1.0 / len(dripping))[0]:
        with contextlib.suppress(OSError):
            dripping[at % len(dripping)].send(b"a")
        at += 1
    print(sum(map(_still_open, peers)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
