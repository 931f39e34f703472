"""A name server that answers by script, and servers at addresses of this machine that pass everything on to a replica."""

import asyncio
import ipaddress
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

A, AAAA = 1, 28
SERVER = "127.0.53.53"
"""Where the name server listens, at port 53: resolv.conf knows no other port."""
_APART = ("unshare", "--mount", "--propagation", "private")


class Names(asyncio.DatagramProtocol):
    """Knows one name. `addresses` is what it stands for; None: there is no such name."""

    def __init__(self, name: str) -> None:
        """`name` without a dot at its end."""
        self._name = name.lower()
        self.addresses: list[str] | None = []
        self.asked = 0
        """Questions about the name."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are sent by."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer a question; what is no question is not answered."""
        with suppress(IndexError, struct.error, UnicodeDecodeError):
            self._transport.sendto(self.answer(data), address)  # type: ignore[attr-defined]

    def answer(self, data: bytes) -> bytes:
        """The answer to a question in the wire's form (RFC 1035, 4)."""
        labels, place = [], 12
        while size := data[place]:
            labels.append(data[place + 1 : place + 1 + size].decode("ascii"))
            place += 1 + size
        kind, _ = struct.unpack_from("!HH", data, place + 1)
        question = data[12 : place + 5]
        mine = ".".join(labels).lower() == self._name
        self.asked += mine
        if not mine or self.addresses is None:
            return data[:2] + struct.pack("!5H", 0x8183, 1, 0, 0, 0) + question
        known = [ipaddress.ip_address(one) for one in self.addresses]
        packed = [one.packed for one in known if kind == (A if one.version == 4 else AAAA)]
        records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 1, len(one)) + one for one in packed]
        return data[:2] + struct.pack("!5H", 0x8180, 1, len(records), 0, 0) + question + b"".join(records)


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Names]:
    """A name server for one name.

    Raises:
        OSError: port 53 is not ours to listen at.
    """
    loop = asyncio.get_running_loop()
    transport, found = await loop.create_datagram_endpoint(lambda: Names(name), local_addr=(SERVER, 53))
    try:
        yield found
    finally:
        transport.close()


@asynccontextmanager
async def passing(places: Mapping[str, int]) -> AsyncIterator[int]:
    """Servers at these addresses, all at one port, which is given; each passes on to a port of 127.0.0.1.

    Raises:
        OSError: an address is none of this machine.
    """
    async with AsyncExitStack() as stack:
        port = 0
        for address, target in places.items():
            server = await asyncio.start_server(_passing(target), address, port)
            stack.callback(server.close)
            port = port or int(server.sockets[0].getsockname()[1])
        yield port


def _passing(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copied(reader, outer), _copied(inner, writer))

    return passed


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes, and the end."""
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


def may_ask() -> bool:
    """Whether a command may be given a resolv.conf of its own here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_APART, "true"], check=False, capture_output=True).returncode == 0


def asking(command: list[str], folder: Path) -> list[str]:
    """A command that sees no name server but this one: in a mount namespace of its own, which root may make."""
    path = folder / "resolv.conf"
    path.write_text(f"nameserver {SERVER}\noptions timeout:1 attempts:2\n")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return [*_APART, "sh", "-c", script, str(path), *command]
