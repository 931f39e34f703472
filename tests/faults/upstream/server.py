"""The upstream itself: N replicas, the special ports, and what is played on them."""

import asyncio
import random
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.faults.upstream import certificates, control
from tests.faults.upstream.answers import Answer
from tests.faults.upstream.http import Request, dumped, read_request, whole
from tests.faults.upstream.modes import MODES
from tests.faults.upstream.naming import Wanted, parse
from tests.faults.upstream.peer import Gone, Peer
from tests.faults.upstream.play import PROFILES, Play, Replica
from tests.faults.upstream.protocols import BY_PATH, CHAT, Protocol, small
from tests.faults.upstream.record import Log

HOST = "127.0.0.1"
BACKLOG = 4096


@dataclass(slots=True)
class Script:
    """What was asked for by the control API; it comes before what a request asks for."""

    seed: int = 1
    nonces: dict[str, list[Wanted]] = field(default_factory=dict)
    """Nonce -> what each attempt with it plays; the last stays."""
    connect: dict[int, str] = field(default_factory=dict)
    """Replica -> `rst_on_accept` or `accept_no_read`."""


def listener(port: int = 0) -> socket.socket:
    """A bound socket that does not listen yet."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((HOST, port))
    found.setblocking(False)
    return found


class Upstream:
    """Listening sockets, what they play, and the log."""

    def __init__(self, replicas: int = 3, *, profile: str = "fast", seed: int = 1, folder: Path | None = None) -> None:
        """`folder`: where certificates are made; without it there is no TLS."""
        self.times = PROFILES[profile]
        self.profile = profile
        self.script = Script(seed)
        self.log = Log()
        self.replicas = [Replica(index) for index in range(replicas + 1)]
        """The last one is the TLS port."""
        self.ports: dict[str, Any] = {}
        self.peers: set[Peer] = set()
        self._plain = replicas
        self._folder = folder
        self._servers: dict[str, asyncio.Server] = {}
        self._sockets: list[socket.socket] = []
        self._tries: dict[str, int] = defaultdict(int)

    async def start(self) -> dict[str, Any]:
        """Listen; the ports by name."""
        plain = [await self._listen(f"replica-{index}", self._replica(index)) for index in range(self._plain)]
        self.ports = {"ports": plain, "profile": self.profile, "seed": self.script.seed}
        self.ports["control"] = await self._listen("control", lambda: Peer(self._serve, -1))
        self.ports["thief"] = await self._listen("thief", lambda: Peer(self._thief, -2))
        self.ports["refuse"] = self._refuse()
        self.ports["blackhole"] = self._blackhole()
        made = certificates.make(self._folder) if self._folder is not None else None
        if made is not None:
            tls = self._replica(self._plain, tls=True)
            self.ports["authority"] = str(made.authority)
            self.ports["tls"] = await self._listen("tls", tls, context=made.good)
            self.ports["tls_expired"] = await self._listen("tls_expired", tls, context=made.expired)
            self.ports["tls_bad_cert"] = await self._listen("tls_bad_cert", tls, context=made.stranger)
            self.ports["tls_slow"] = await self._listen("tls_slow", lambda: Peer(self._mute, -3, deaf=True))
        return self.ports

    async def close(self) -> None:
        """Let go of every socket."""
        for server in self._servers.values():
            server.close()
        for peer in list(self.peers):
            peer.cancel()
        for found in self._sockets:
            found.close()
        await asyncio.sleep(0)

    async def listening(self, index: int, wanted: bool) -> None:
        """Open or close the listener of a replica: a closed one refuses."""
        name = f"replica-{index}"
        server = self._servers.get(name)
        if wanted and server is None:
            await self._listen(name, self._replica(index), port=self.ports["ports"][index])
        elif not wanted and server is not None:
            del self._servers[name]
            server.close()

    def _replica(self, index: int, *, tls: bool = False) -> Callable[[], Peer]:
        def made() -> Peer:
            deaf = self.script.connect.get(index) == "accept_no_read"
            return Peer(self._mute if deaf else self._serve, index, tls=tls, deaf=deaf)

        return made

    async def _listen(
        self, name: str, made: Callable[[], Peer], *, port: int = 0, context: ssl.SSLContext | None = None
    ) -> int:
        found = listener(port)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(made, sock=found, ssl=context, backlog=BACKLOG)
        self._servers[name] = server
        return int(server.sockets[0].getsockname()[1])

    def _refuse(self) -> int:
        """A port that is ours and on which nothing listens."""
        found = listener()
        self._sockets.append(found)
        return int(found.getsockname()[1])

    def _blackhole(self) -> int:
        """A port whose accept queue is full: the system drops whoever knocks."""
        found = listener()
        found.listen(0)
        self._sockets.append(found)
        for _ in range(2):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(found.getsockname())
            self._sockets.append(filler)
        return int(found.getsockname()[1])

    async def _mute(self, peer: Peer) -> None:
        await asyncio.sleep(self.times["silent"])

    async def _thief(self, peer: Peer) -> None:
        seen = {"t": peer.accepted, "text": ""}
        self.log.thief.append(seen)
        with suppress(Gone):
            seen["text"] = (await peer.until(b"\r\n\r\n")).decode("latin-1")
        await peer.send(whole(200, b'{"stolen":true}'))

    async def _serve(self, peer: Peer) -> None:
        if self.script.connect.get(peer.port) == "rst_on_accept":
            peer.reset()
            return
        self.peers.add(peer)
        try:
            while await self._one(peer, await read_request(peer)):
                pass
        finally:
            self.peers.discard(peer)

    async def _one(self, peer: Peer, request: Request) -> bool:
        """Answer one request; whether the connection may be used again."""
        path = request.path
        if path.startswith("/__"):
            await peer.send(await control.answer(self, request))
            return True
        if path == "/metrics":
            replica = self.replicas[max(0, peer.port)]
            used = min(1.0, replica.running / 256)
            await peer.send(small.metrics(replica.running, replica.waiting, used=used, queries=replica.queries))
            return True
        protocol = self._protocol(path, request)
        if protocol is None:
            found = small.answered(request.method, path, request.body, request.fields)
            await peer.send(found or whole(404, dumped(CHAT.error(f"nothing at {path}", "not_found", None))))
            return True
        return await self._play(peer, request, protocol)

    def _protocol(self, path: str, request: Request) -> Protocol | None:
        if path == "/v1/embeddings":
            return replace(CHAT, name="embeddings", whole=lambda answer: small.embeddings(request.fields))
        return BY_PATH.get(path) if request.method == "POST" else None

    async def _play(self, peer: Peer, request: Request, protocol: Protocol) -> bool:
        model = str(request.fields.get("model", ""))
        replica = self.replicas[peer.port]
        attempt = self.log.begin(peer, request, "", protocol.name)
        key = attempt.nonce or attempt.body_sha256
        self._tries[key] += 1
        wanted = self._wanted(request, model, replica, self._tries[key])
        attempt.mode = wanted.text
        rng = random.Random(f"{self.script.seed}|{key}|{self._tries[key]}|{wanted.text}")
        play = Play(peer, request, protocol, wanted, attempt, replica, self.times, rng, self._thief_url())
        play.tries = self._tries[key]
        play.answer = Answer(model, prompt_tokens=len(request.body) // 4, id=f"fx-{attempt.number}")
        replica.running += 1
        replica.queries += 1
        play.before = peer.sent
        try:
            mode = MODES.get(wanted.mode)
            if mode is None:
                await play.send(whole(404, play.error(f"there is no mode {wanted.mode}", "not_found_error")))
                attempt.end = "unknown"
                return True
            alive = await mode.run(play)
        except Gone:
            attempt.end, attempt.t_peer_closed = "left", peer.closed_at
            raise
        else:
            attempt.end = "done" if alive else "broken"
            return alive and request.header("connection").lower() != "close"
        finally:
            replica.running -= 1
            attempt.bytes_sent = peer.sent - play.before
            attempt.over = True

    def _thief_url(self) -> str:
        return f"http://{HOST}:{self.ports['thief']}"

    def _wanted(self, request: Request, model: str, replica: Replica, tries: int) -> Wanted:
        """A script for the nonce, else the header, else what the port plays, else the model's name."""
        last = self.log.attempts[-1]
        scripted = self.script.nonces.get(last.nonce)
        if scripted:
            return scripted[min(tries, len(scripted)) - 1].at(replica.index)
        asked = parse(request.header("x-fx"), bare=True)
        found = asked or replica.wanted or parse(model) or Wanted()
        return found.at(replica.index)
