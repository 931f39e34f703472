"""An upstream that misbehaves on purpose: raw sockets, one thread a connection, the fault named by the model (`fx-<mode>[:index]`).

It knows only the OpenAI chat protocol and keeps a ground truth of what it was sent and when its peer went away.
"""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

WORDS = [f"word{i:02d}" for i in range(60)]
ANSWER = " ".join(WORDS)
USAGE = {"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72}
PATIENCE = 30.0
"""Seconds a silent mode stays silent, at most."""


@dataclass
class Seen:
    """One request, as it arrived."""

    mode: str
    headers: dict[str, str]
    body: bytes
    at: float
    peer_closed: float | None = None
    """Monotonic seconds at which the peer was gone; None while it is there."""
    over: threading.Event = field(default_factory=threading.Event)


class Upstream:
    """A listening socket and its log."""

    def __init__(self) -> None:
        self.log: list[Seen] = []
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._server.close()

    def modes(self) -> list[str]:
        """Modes asked for so far, in order."""
        return [seen.mode for seen in self.log]

    def last(self, mode: str, seconds: float = 5.0) -> Seen:
        """The newest request of a mode; waits for it to arrive."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for seen in reversed(self.log):
                if seen.mode == mode:
                    return seen
            time.sleep(0.005)
        raise AssertionError(f"no request of mode {mode}; there were {self.modes()}")

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for headers, body in requests(peer):
                fields = json.loads(body)
                mode = str(fields["model"]).removeprefix("fx-")
                seen = Seen(mode, headers, body, time.monotonic())
                self.log.append(seen)
                try:
                    alive = answer(peer, mode, fields, seen)
                except OSError:
                    seen.peer_closed = time.monotonic()
                    alive = False
                seen.over.set()
                if not alive:
                    return


def requests(peer: socket.socket) -> Iterator[tuple[dict[str, str], bytes]]:
    """Requests of one keep-alive connection; bodies by Content-Length or chunked."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = peer.recv(65536)
            if not more:
                return
            data += more
        head, data = data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if "chunked" in headers.get("transfer-encoding", ""):
            raise AssertionError("this upstream reads bodies with a Content-Length only")
        length = int(headers.get("content-length", "0"))
        while len(data) < length:
            data += peer.recv(65536)
        body, data = data[:length], data[length:]
        if body:
            yield headers, body


def says(model: str) -> str:
    """What a model answers: `fx-say:TEXT` says TEXT, all others sixty words."""
    name, _, text = model.removeprefix("fx-").partition(":")
    return text if name == "say" else ANSWER


def events(model: str, usage: bool) -> list[bytes]:
    """The canonical stream: a role, sixty words, a finish, the usage when asked for, the end."""

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    found = [event({"role": "assistant", "content": ""})]
    found += [event({"content": word if i == 0 else " " + word}) for i, word in enumerate(says(model).split(" "))]
    found.append(event({}, "stop"))
    if usage:
        last = {
            "id": "c-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": [],
            "usage": USAGE,
        }
        found.append(b"data: " + json.dumps(last).encode() + b"\n\n")
    return [*found, b"data: [DONE]\n\n"]


def head(status: int, content_type: str, *more: str) -> bytes:
    """Status line and headers."""
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", f"content-type: {content_type}", *more, "", ""]).encode()


def chunked(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def whole(status: int, body: bytes, *more: str) -> bytes:
    """A complete JSON response."""
    return head(status, "application/json", f"content-length: {len(body)}", *more) + body


def reset(peer: socket.socket) -> bool:
    """Close with a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    return False


def hang(peer: socket.socket, seen: Seen) -> bool:
    """Say nothing more, and note when the peer has gone."""
    peer.settimeout(PATIENCE)
    with contextlib.suppress(TimeoutError, OSError):
        while peer.recv(4096):
            pass
    seen.peer_closed = time.monotonic()
    return False


def error(message: str, kind: str = "server_error") -> bytes:
    """An error body in OpenAI's shape."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}).encode()


def answer(peer: socket.socket, mode: str, fields: dict, seen: Seen) -> bool:
    """Play `mode`; whether the connection may be used again."""
    name, _, argument = mode.partition(":")
    if name == "close":
        return False
    if name in {"silent", "reset"}:
        return hang(peer, seen) if name == "silent" else reset(peer)
    if name.isdigit():
        more = ["retry-after: 0"] if name == "429" else []
        peer.sendall(whole(int(name), error(f"told to say {name}"), *more))
    elif name == "redirect":
        peer.sendall(whole(307, b"{}", f"location: {argument}"))
    elif fields.get("stream"):
        usage = bool((fields.get("stream_options") or {}).get("include_usage"))
        found = events(str(fields["model"]), usage=usage)
        return stream(peer, mode, found, seen)
    else:
        return complete(peer, name, str(fields["model"]), seen)
    return True


def complete(peer: socket.socket, name: str, model: str, seen: Seen) -> bool:
    """Non-streaming modes."""
    message = {"role": "assistant", "content": says(model)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps(
        {"id": "c-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": USAGE}
    ).encode()
    if name == "hang":
        peer.sendall(head(200, "application/json", f"content-length: {len(body)}") + body[:20])
        return hang(peer, seen)
    if name == "short":
        peer.sendall(head(200, "application/json", f"content-length: {len(body)}") + body[:-30])
        return False
    if name == "badjson":
        peer.sendall(whole(200, body[:-30]))
        return True
    if name == "empty":
        peer.sendall(whole(200, b""))
        return True
    if name == "html":
        page = b"<html>oops</html>"
        peer.sendall(head(502, "text/html", f"content-length: {len(page)}") + page)
        return True
    peer.sendall(whole(200, body))
    return True


def stream(peer: socket.socket, mode: str, found: list[bytes], seen: Seen) -> bool:
    """Streaming modes; as many events as the mode's argument says go out before the fault."""
    name, _, argument = mode.partition(":")
    frame = bytes if name == "cut_close" else chunked
    framing = "connection: close" if name == "cut_close" else "transfer-encoding: chunked"
    peer.sendall(head(200, "text/event-stream", framing))
    if name in {"ok", "say", "slow", "nodone"}:
        for event in found[:-1] if name == "nodone" else found:
            peer.sendall(chunked(event))
            if name == "slow":
                time.sleep(0.02)
        peer.sendall(b"0\r\n\r\n")
        return True
    for event in found[: int(argument)]:
        peer.sendall(frame(event))
    if name == "stall":
        return hang(peer, seen)
    if name == "cut_rst":
        time.sleep(0.05)  # let the events arrive: a RST throws away what was not read yet
        return reset(peer)
    endings = {
        "cut_clean": b"0\r\n\r\n",
        "cut_done": chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n",
        "err": chunked(b"data: " + error("engine died") + b"\n\n") + b"0\r\n\r\n",
    }
    peer.sendall(endings.get(name, b""))
    return name in endings  # cut_noterm and cut_close just end
