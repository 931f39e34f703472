"""`Idempotency-Key`: the same question under the same key is asked upstream once, and answered with the same bytes for a day.

Kept are answers that succeeded. A twin that comes while the first is under way waits for it; if the first fails, the twin is asked.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fw_gateway import clock
from fw_gateway.endpoints.large import LARGE
from fw_gateway.endpoints.request import MAX_NAME, Request, timeout
from fw_gateway.errors import BadRequest, GatewayError
from fw_gateway.ledger.answers import Answers, Claimed, Kept
from fw_gateway.values import Record, Reply

HEADER = "idempotency-key"
KEPT_NS = 24 * 3600 * 10**9
"""Nanoseconds for which an answer is kept."""
CAP = 64 * 2**20
"""Bytes of answers in memory; the one that was not asked for the longest goes first."""
EACH = 4 * 2**20
"""Bytes of the longest answer that is kept."""
LEASE_NS = 30 * 10**9
"""Nanoseconds for which a claim holds that is not renewed: what a crash costs its twins."""
RENEWAL = 5.0
"""Seconds between two renewals."""
POLLS = (0.02, 0.5)
"""Seconds between two looks for the answer of another process: at first, and at most."""
_OWN = ("x-request-id", "traceresponse")
"""Headers of one exchange, which another's replay does not have."""

Served = Callable[[Request], Awaitable[Reply]]


class KeyReused(BadRequest):
    """The key belongs to another question."""

    status = 422
    code = "idempotency_key_reused"
    error_type = "422"


class StillAsked(GatewayError):
    """The same question is still under way, and the time of this one is over."""

    status = 409
    code = "idempotency_in_progress"
    error_type = "409"


@dataclass(eq=False, slots=True)
class _Entry:
    asked: bytes
    kept: Kept | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """It has an answer, or never will."""


class Once:
    """Wraps endpoints that spend. Requests without the header go straight through."""

    def __init__(self, longest: float, store: Answers | None = None, *, cap: int = CAP, each: int = EACH) -> None:
        """`longest`: seconds that a request may take; `store` outlives the process, and is shared with others."""
        self._longest, self._store = longest, store
        self._cap, self._each = cap, each
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._owner = clock.secret()

    async def work(self) -> None:
        """Hold on to what this process claimed before others, until cancelled."""
        while self._store is not None:
            await asyncio.sleep(RENEWAL)
            if asked := [scope for scope, entry in self._entries.items() if entry.kept is None]:
                await asyncio.to_thread(self._store.renew, asked, self._owner, clock.wall_ns() + LEASE_NS)

    def __call__(self, endpoint: Served) -> Served:
        """The endpoint, asked once per key."""

        def served(request: Request) -> Awaitable[Reply]:
            name = request.headers.get(HEADER)
            return endpoint(request) if name is None else self._served(endpoint, request, name)

        return served

    async def _served(self, endpoint: Served, request: Request, name: str) -> Reply:
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            message = f"Idempotency-Key must be printable and 1 to {MAX_NAME} characters long."
            raise BadRequest(message, param="Idempotency-Key")
        scope = f"{request.key_id}\n{name}"
        # In a thread, hashing lets the loop go on: 20 MB take it 15 to 60 ms.
        asked = await asyncio.to_thread(_digest, request) if len(request.body) >= LARGE else _digest(request)
        end = request.started + timeout(request.headers, self._longest)
        while (entry := self._found(scope)) is not None:
            if entry.kept is not None:
                return _replay(entry.kept, asked)
            _same(entry.asked, asked)
            try:
                async with asyncio.timeout(max(0.0, end - clock.monotonic())):
                    await entry.over.wait()
            except TimeoutError:
                raise _still() from None
        entry = self._entries[scope] = _Entry(asked)
        try:
            kept = await self._claimed(scope, asked, end)
        except BaseException:
            await self.give_up(scope, entry)
            raise
        if kept is None:
            return await self._first(endpoint, request, scope, entry)
        entry.asked = kept.asked
        self._keep(scope, entry, kept)
        return _replay(kept, asked)

    async def _claimed(self, scope: str, asked: bytes, end: float) -> Kept | None:
        """The answer that is kept already, or comes while another process asks; None: it is ours to ask."""
        wait, longest = POLLS
        while self._store is not None:
            now = clock.wall_ns()
            times = (now, now + LEASE_NS, now - KEPT_NS)
            found = await asyncio.to_thread(self._store.claim, scope, asked, self._owner, times)
            if not isinstance(found, Claimed):
                return found
            _same(found.asked, asked)
            left = end - clock.monotonic()
            if left <= 0:
                raise _still()
            await asyncio.sleep(min(wait, left))
            wait = min(2 * wait, longest)
        return None

    async def _first(self, endpoint: Served, request: Request, scope: str, entry: _Entry) -> Reply:
        try:
            reply = await endpoint(request)
            if not 200 <= reply.status < 300:
                await self.give_up(scope, entry)
            elif isinstance(reply.body, bytes):
                await self.keep(scope, entry, reply, reply.body)
            else:
                reply.body = _Listened(reply.body, self, (scope, entry, reply), self._each)
        except BaseException:
            if entry.kept is None:
                await self.give_up(scope, entry)
            raise
        return reply

    async def give_up(self, scope: str, entry: _Entry) -> None:
        """There will be no answer: whoever waits for it asks."""
        first = self._entries.get(scope) is entry
        self.drop(scope, entry)
        if first and self._store is not None:
            await asyncio.to_thread(self._store.release, scope, self._owner)

    def _found(self, scope: str) -> _Entry | None:
        entry = self._entries.get(scope)
        if entry is not None and entry.kept is not None and entry.kept.at_ns < clock.wall_ns() - KEPT_NS:
            self.drop(scope, entry)
            return None
        if entry is not None:
            self._entries.move_to_end(scope)
        return entry

    async def keep(self, scope: str, entry: _Entry, reply: Reply, body: bytes) -> None:
        """Keep an answer that has gone well."""
        if len(body) > self._each:
            await self.give_up(scope, entry)
            return
        headers = {name: value for name, value in reply.headers.items() if name.lower() not in _OWN}
        kept = Kept(entry.asked, clock.wall_ns(), reply.status, headers, body)
        self._keep(scope, entry, kept)
        if self._store is not None:
            await asyncio.to_thread(self._store.put, scope, kept, kept.at_ns - KEPT_NS)

    def _keep(self, scope: str, entry: _Entry, kept: Kept) -> None:
        entry.kept = kept
        self._size += len(kept.body)
        entry.over.set()
        for other in list(self._entries):
            if self._size <= self._cap:
                break
            oldest = self._entries[other]
            if oldest.kept is not None and other != scope:
                self.drop(other, oldest)

    def drop(self, scope: str, entry: _Entry) -> None:
        """Forget an answer, or that one was awaited."""
        if self._entries.get(scope) is entry:
            del self._entries[scope]
            self._size -= len(entry.kept.body) if entry.kept is not None else 0
        entry.over.set()


class _Listened:
    """A stream on its way out; when it has ended well, what went out is kept."""

    def __init__(self, body: AsyncIterator[bytes], once: Once, about: tuple[str, _Entry, Reply], most: int) -> None:
        self._body, self._once, self._most = body, once, most
        self._scope, self._entry, self._reply = about
        self._pieces: list[bytes] = []
        self._size = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await anext(self._body)
        except StopAsyncIteration:
            if _went_well(self._reply.record) and self._size <= self._most:
                await self._once.keep(self._scope, self._entry, self._reply, b"".join(self._pieces))
            else:
                await self._once.give_up(self._scope, self._entry)
            raise
        self._size += len(data)
        if self._size <= self._most:
            self._pieces.append(data)
        else:
            self._pieces.clear()
        return data

    async def aclose(self) -> None:
        """Whatever came of it."""
        closer = getattr(self._body, "aclose", None)
        try:
            if closer is not None:
                await closer()
        finally:
            if self._entry.kept is None:
                await self._once.give_up(self._scope, self._entry)


def _digest(request: Request) -> bytes:
    """What is asked, and where."""
    where = "\n".join((request.path, *request.parameters.values()))
    found = hashlib.sha256(where.encode("utf-8", "surrogateescape") + b"\0")
    found.update(request.body)
    return found.digest()


def _still() -> StillAsked:
    hint = "Send it again later, with the same key."
    return StillAsked("The same request is still under way.", hint=hint, retry_after=1.0)


def _went_well(record: Record | None) -> bool:
    return record is None or record.outcome != "failed"


def _replay(kept: Kept, asked: bytes) -> Reply:
    _same(kept.asked, asked)
    return Reply(kept.status, {**kept.headers, "x-fw-idempotent-replay": "true"}, kept.body)


def _same(first: bytes, asked: bytes) -> None:
    """Refuse a key that was used for something else."""
    if first != asked:
        hint = "Use a new key for a new request."
        raise KeyReused("This Idempotency-Key was used for another request.", hint=hint, param="Idempotency-Key")
