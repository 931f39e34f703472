"""What servers of one's own say of themselves, and of vLLM its queue and caches: read once a second while there is traffic, never waited for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp

from fw_gateway import clock
from fw_gateway.config import Endpoint
from fw_gateway.state import Deployment
from fw_gateway.state.pace import Signals

PROVIDER = "vllm"
HEALTHY = frozenset({"vllm", "sglang", "llamacpp"})
"""Providers whose servers answer `GET /health`: 200, or 503 while they cannot serve."""
PERIOD = 1.0
"""Seconds between two looks, give or take JITTER of it."""
JITTER = 0.2
QUIET = 60.0
"""Seconds without a call after which nobody looks, and for which a server that has no such figures is not asked again."""
PATIENCE = 0.9
"""Seconds that an answer may take."""
_NAMES = {
    "running": b"num_requests_running",
    "waiting": b"num_requests_waiting",
    "kv": b"kv_cache_usage_perc",
    "hits": b"prefix_cache_hits_total",
    "queries": b"prefix_cache_queries_total",
}
Get = Callable[[Endpoint, str, float], Awaitable[bytes]]
"""(endpoint, path from the server's root on, seconds): the body of an answer of 200."""
Health = Callable[[Endpoint, float], Awaitable[int]]
"""(endpoint, seconds): the status with which it answers when it is asked how it is."""
_log = logging.getLogger("fw.vllm")


class NoFigures(Exception):
    """The server answered something else than figures."""


def read(text: bytes, now: float, mine: int = 0) -> Signals:
    """The figures among all that `/metrics` says; engines of one server are added up, the fullest cache counts. `mine`: own calls there.

    Raises:
        NoFigures: these are not vLLM's.
    """
    found = {key: _values(text, name) for key, name in _NAMES.items()}
    if not found["running"]:
        raise NoFigures("no number of running requests")
    sums = {key: sum(values) for key, values in found.items()}
    return Signals(
        now,
        running=sums["running"],
        waiting=sums["waiting"],
        kv=max(found["kv"], default=0.0),
        hits=sums["hits"],
        queries=sums["queries"],
        mine=mine,
    )


def _values(text: bytes, name: bytes) -> list[float]:
    """The value of each series of one metric; a search for bytes costs less than reading every line."""
    mark, found, position = b"\nvllm:" + name + b"{", [], 0
    while (position := text.find(mark, position)) >= 0:
        end = text.find(b"\n", position + 1)
        line = text[position : end if end >= 0 else len(text)]
        position += len(mark)
        try:
            found.append(float(line.rpartition(b" ")[2]))
        except ValueError:
            raise NoFigures(f"no number in {line[:80]!r}") from None
    return found


class Poller:
    """Keeps the signals of every vLLM fresh, and what its own server says of each deployment's health."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        deployments: Mapping[str, Deployment],
        get: Get,
        health: Health | None = None,
        *,
        period: float = PERIOD,
    ) -> None:
        """`deployments` by id is where what is read goes; `get` asks a server, `health` asks it how it is (None: nobody does)."""
        places = [one for one in endpoints if one.row.name in HEALTHY and one.url and not one.embedded]
        self._asked = places if health is not None else []
        self._health = health
        self._endpoints = [endpoint for endpoint in endpoints if endpoint.row.name == PROVIDER]
        self._deployments = deployments
        self._get = get
        self._period = period

    async def work(self) -> None:
        """Look again and again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for endpoint in self._endpoints:
                group.create_task(self._each(endpoint))
            for endpoint in self._asked:
                group.create_task(self._ask(endpoint))

    async def _ask(self, endpoint: Endpoint) -> None:
        """Ask how it is while there is traffic, and while it is not well: its calls go elsewhere then, so that nobody else finds out."""
        deployment = self._deployments[endpoint.target.deployment]
        wait, known = self._period, False
        while True:
            await asyncio.sleep(wait * (1 - JITTER + 2 * JITTER * clock.uniform()))
            wait, before = self._period, deployment.pace.well
            if before and clock.monotonic() - deployment.busy.last > QUIET:
                continue
            well, known = await self._well(endpoint, known=known)
            wait = self._period if known else QUIET
            deployment.pace.well = before if well is None else well
            if deployment.pace.well != before:
                state = "well again" if before is False else "not well, and rests while others are"
                _log.warning("%s says that it is %s", endpoint.target.deployment, state)

    async def _well(self, endpoint: Endpoint, *, known: bool) -> tuple[bool | None, bool]:
        """How it is (None: that is not said), and whether it is known to say so: one that is gone is not well if it was."""
        if self._health is None:
            return None, known
        try:
            status = await self._health(endpoint, PATIENCE)
        except TimeoutError:  # busy, perhaps: calls will show
            return None, known
        except (aiohttp.ClientError, OSError):
            return (False if known else None), known
        return status < 500, status == 200 or status >= 500  # without such a page it is there, and says no more

    async def _each(self, endpoint: Endpoint) -> None:
        deployment = self._deployments[endpoint.target.deployment]
        wait = self._period
        while True:
            await asyncio.sleep(wait * (1 - JITTER + 2 * JITTER * clock.uniform()))
            wait = self._period
            if clock.monotonic() - deployment.busy.last > QUIET:
                continue
            deployment.pace.signals, known = await self._look(endpoint, deployment)
            wait = self._period if known else QUIET

    async def _look(self, endpoint: Endpoint, deployment: Deployment) -> tuple[Signals | None, bool]:
        """What it says now, and whether it is worth asking again soon. Only one that has given figures before can be missed."""
        before, mine = deployment.pace.signals, deployment.busy.count
        try:
            text = await self._get(endpoint, "/metrics", PATIENCE)
            # Calls that came or went meanwhile may be in the figures: they are not taken for somebody else's.
            return read(text, clock.monotonic(), max(mine, deployment.busy.count)), True
        except NoFigures as why:
            _log.info("%s gives no figures of its queue: %s", endpoint.target.deployment, why)
            return None, False
        except TimeoutError:  # busy, or its engine has stopped: calls will show which
            return before, before is not None
        except (aiohttp.ClientError, OSError):
            return (None, False) if before is None else (Signals(clock.monotonic(), up=False), True)
