"""The ground truth: every attempt as the upstream saw it, and the usage that it really emitted."""

import hashlib
import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.upstream.http import Request
from tests.faults.upstream.peer import Peer

_NONCE = re.compile(rb"nonce-[0-9a-f]{6,40}")
KEPT = 200_000
"""Attempts that are remembered."""


@dataclass(slots=True)
class Attempt:
    """One request and what was answered. Times are CLOCK_MONOTONIC of this machine, in seconds."""

    number: int
    nonce: str
    port: int
    mode: str
    protocol: str
    path: str
    stream: bool
    connection: int
    """Which request of its connection it is, from 1."""
    t_accept: float
    t_headers: float
    t_body: float
    body_sha256: str
    body_bytes: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    t_first_byte: float | None = None
    t_last_byte: float | None = None
    t_peer_closed: float | None = None
    """When the peer's FIN or RST was seen while this attempt was being answered; None: it stayed to the end."""
    bytes_sent: int = 0
    events: list[float] = field(default_factory=list)
    """When each event of a stream had been handed to the system, if the mode keeps them."""
    tokens: int = 0
    usage: dict[str, Any] | None = None
    """The last usage that went out."""
    over: bool = False
    end: str = ""
    """`done`, `broken` (as scripted), `left` (the peer went)."""


class Log:
    """All attempts, in order of arrival."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.by_nonce: dict[str, list[Attempt]] = defaultdict(list)
        self.thief: list[dict[str, Any]] = []
        """Contacts of the port that nobody may contact."""
        self._dropped = 0

    def begin(self, peer: Peer, request: Request, mode: str, protocol: str) -> Attempt:
        """Note a request."""
        body = request.body
        found = _NONCE.search(body)
        attempt = Attempt(
            number=self._dropped + len(self.attempts),
            nonce=found[0].decode() if found else "",
            port=peer.port,
            mode=mode,
            protocol=protocol,
            path=request.target,
            stream=bool(request.fields.get("stream")),
            connection=peer.served,
            t_accept=peer.accepted,
            t_headers=request.t_headers,
            t_body=request.t_body,
            body_sha256=hashlib.sha256(body).hexdigest(),
            body_bytes=len(body),
            headers=request.headers,
        )
        self.attempts.append(attempt)
        if attempt.nonce:
            self.by_nonce[attempt.nonce].append(attempt)
        return attempt

    def select(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Attempts of a nonce, of a mode, from a number on; `light=1` leaves headers and event times out."""
        rows = self.by_nonce.get(query["nonce"], []) if "nonce" in query else self.attempts
        since = int(query.get("since", "0"))
        if mode := query.get("mode", ""):
            rows = [one for one in rows if one.mode.startswith(mode)]
        found = [asdict(one) for one in rows if one.number >= since]
        if query.get("light"):
            for one in found:
                one["headers"], one["events"] = [], []
        return found

    def truth(self, query: dict[str, str]) -> dict[str, Any]:
        """Usage emitted, by nonce; and in all, counting what is a whole number."""
        found: dict[str, Any] = {}
        total = {"prompt_tokens": 0, "completion_tokens": 0}
        for attempt in self.attempts:
            if query.get("nonce", attempt.nonce) != attempt.nonce or not attempt.nonce:
                continue
            row = {"usage": attempt.usage, "tokens": attempt.tokens, "mode": attempt.mode, "end": attempt.end}
            found.setdefault(attempt.nonce, []).append(row)
            for name in total:
                value = (attempt.usage or {}).get(name)
                total[name] += value if isinstance(value, int) and not isinstance(value, bool) else 0
        return {"nonces": found, "total": total}

    def forget(self) -> None:
        """Drop everything but the numbering and the thief's book."""
        self._dropped += len(self.attempts)
        self.attempts.clear()
        self.by_nonce.clear()

    def trim(self) -> None:
        """Drop what is finished when there is too much."""
        if len(self.attempts) > KEPT:
            self.forget()
