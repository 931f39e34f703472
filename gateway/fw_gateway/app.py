"""The only place where things are wired: one Gateway owns every resource's lifetime, and both doors lead into it."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import uvloop
from aiohttp import web

from fw_gateway import clock, memory
from fw_gateway.config import Config, Endpoint, Secret
from fw_gateway.endpoints.once import Once
from fw_gateway.endpoints.reading import Reading
from fw_gateway.endpoints.request import Request
from fw_gateway.endpoints.serving import Serving
from fw_gateway.engine import Engine
from fw_gateway.errors import NoCandidate
from fw_gateway.ledger import LedgerError, open_ledger
from fw_gateway.ledger.answers import Answers
from fw_gateway.middleware.auth import Gate
from fw_gateway.middleware.border import entry, expectation, http_log, unmatched
from fw_gateway.middleware.connections import Patience, Runner
from fw_gateway.middleware.limits import Limits
from fw_gateway.providers.litellm_bridge import Bridge, base_url
from fw_gateway.providers.local import LocalModel, LocalModelError, PullError
from fw_gateway.providers.vllm import Poller
from fw_gateway.state import Worlds
from fw_gateway.state.shared import Shared
from fw_gateway.telemetry import Recorder
from fw_gateway.telemetry.metrics import CIRCUIT, ENGINE, HEALTH, INFLIGHT, REFUSED, Instrument, Labels
from fw_gateway.upstream import Route, Upstreams, health, look
from fw_gateway.values import Reply
from fw_policies.estimate import Statistics

SAVE = 10.0
"""Seconds between snapshots of the statistics."""
LAST_CALL = 1.0
"""Seconds that requests get after the drain is over, before their connections are closed."""
PATIENCE = Patience()
BACKLOG = 2048
"""Connections that may wait to be let in; a client whose connection does not fit sees a reset."""
GENERATIONS = (20_000, 4, 4)
"""Container objects between two collections, and collections between those of the older ones: a call makes some hundred, nearly all of
which end with it, so that the interpreter's own 700 would have nothing to find twice or thrice in every call. What fails leaves cycles,
some of them old by then."""
OLD = 10.0
"""Seconds after which what an engine said of itself is no longer shown."""
STATES = {"closed": 0.0, "probing": 0.5, "open": 1.0}
_log = logging.getLogger("fw.gateway")
Served = Callable[[Request], Awaitable[Reply]]


class Gateway:
    """The whole gateway in one object. `start` before anything, `stop` after everything."""

    def __init__(self, config: Config, limits: Limits | None = None) -> None:
        """Wire it; nothing runs and nothing is opened but the ledger. `limits`: others than the config's.

        Raises:
            LedgerError: the state directory cannot be used.
        """
        self.config = config
        self._ledger = open_ledger(config)
        saved = self._ledger.load_statistics() or {}
        learnt = Statistics if config.server.workers == 1 else Shared
        self._worlds = Worlds(config, learnt.from_dict(saved), saved.get("drift"))
        self.recorder = Recorder(config, self._ledger, gauges=self._gauges)
        self._upstreams = Upstreams()
        self._poller = Poller(config.endpoints, self._worlds.deployments, self._look, self._health)
        self._bridge = Bridge()
        self._locals: dict[str, LocalModel] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._engine = engine = Engine(config, self._worlds, self.recorder, ledger=self._ledger, route=self.route)
        self._serving = Serving(config, engine, self._ledger, self.recorder.sampled)
        self._reading = Reading(config, self._ledger, self.recorder, self._worlds)
        self.limits = limits or limits_of(config)
        self.listening = False
        self._answers = Answers(config.server.state_dir) if config.server.idempotency == "disk" else None
        self._once = once = Once(config.server.max_timeout, self._answers)
        self.routes: tuple[tuple[str, str, Served], ...] = (
            ("POST", "/v1/chat/completions", once(self._serving.chat)),
            ("POST", "/v1/responses", once(self._serving.responses)),
            ("POST", "/v1/messages", once(self._serving.messages)),
            ("POST", "/v1/messages/count_tokens", self._serving.count_tokens),
            ("POST", "/v1/completions", once(self._serving.completions)),
            ("POST", "/v1/embeddings", once(self._serving.embeddings)),
            ("POST", "/v1/explain", self._serving.explain),
            ("POST", "/v1/outcomes", self._reading.outcomes),
            ("GET", "/v1/models", self._reading.models),
            ("GET", "/v1/models/{id:.+}", self._reading.model),
            ("GET", "/v1/decisions/{id}", self._reading.decision),
            ("POST", "/v1/decisions/{id}/verdict", self._serving.verdict),
            ("GET", "/v1/runs/{id}", self._reading.run),
            ("GET", "/livez", self._alive),
            ("GET", "/readyz", self._ready),
            ("GET", "/metrics", self._metrics),
            ("POST", "/v1/{tail:.+}", once(self._serving.anything)),  # last: what no other route is
        )

    async def start(self, *, models: bool = True) -> None:
        """Begin to record, to save what is learnt, and (with `models`) the embedded models.

        Raises:
            LocalModelError, PullError: an embedded model cannot be started.
        """
        self.recorder.start()
        if models:
            for endpoint in self.config.endpoints:
                if endpoint.embedded:
                    await self._local(endpoint)

    async def save(self) -> None:
        """Save statistics again and again, until cancelled."""
        while True:
            await asyncio.sleep(SAVE)
            await self.save_now()

    async def work(self) -> None:
        """What goes on beside calls, until cancelled: saving, asking what is not proven enough to serve, and how busy engines are."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.save())
            group.create_task(self._engine.work())
            group.create_task(self._poller.work())
            group.create_task(self._once.work())

    async def save_now(self) -> None:
        """Keep what was learnt, when there is something new."""
        if self.config.server.workers > 1:
            await self._exchange()
            return
        if not self._worlds.dirty:
            return
        self._worlds.dirty = False
        statistics = self._worlds.to_dict()
        try:
            await asyncio.to_thread(self._ledger.save_statistics, statistics)
        except LedgerError as fault:
            self._worlds.dirty = True
            _log.warning("statistics were not saved: %s", fault)

    async def _exchange(self) -> None:
        """Add what was learnt to what all workers have learnt, and go on with that."""
        taken = self._worlds.take() if self._worlds.dirty else None
        self._worlds.dirty = False
        try:
            if taken is not None:
                added, drift = taken
                together = await asyncio.to_thread(self._ledger.update_statistics, partial(added.to, drift=drift))
            else:
                found = await asyncio.to_thread(self._ledger.load_statistics)
                together = found or {}
        except LedgerError as fault:
            if taken is not None:
                self._worlds.give_back(taken[0])
            _log.warning("statistics were not exchanged: %s", fault)
            return
        self._worlds.renew(together)

    async def stop(self) -> None:
        """Let go of everything; what is recorded is written first."""
        models, self._locals = list(self._locals.values()), {}
        try:
            self._engine.close()
            await self._upstreams.close()
            await self.save_now()
            await asyncio.to_thread(self.recorder.stop)
        finally:
            for model in models:
                await model.stop()
            await self._bridge.stop()
            self._ledger.close()
            if self._answers is not None:
                self._answers.close()

    async def route(self, endpoint: Endpoint) -> Route:
        """The way to an endpoint; starts what has to be started first.

        Raises:
            NoCandidate: what serves it cannot be started.
        """
        if endpoint.embedded:
            try:
                model = await self._local(endpoint)
            except (LocalModelError, PullError) as fault:
                raise NoCandidate(str(fault)) from fault
            return self._upstreams.route(endpoint, url=model.base_url, key=model.key)
        if endpoint.row.bridge:
            return self._upstreams.route(endpoint, url=base_url(endpoint), socket_path=await self._bridge.start())
        return self._upstreams.route(endpoint)

    async def _look(self, endpoint: Endpoint, path: str, seconds: float) -> bytes:
        return await look(self._upstreams.route(endpoint), path, seconds)

    async def _health(self, endpoint: Endpoint, seconds: float) -> int:
        return await health(self._upstreams.route(endpoint), seconds)

    async def _local(self, endpoint: Endpoint) -> LocalModel:
        name = endpoint.embedded
        found = self._locals.get(name)
        if found is not None and found.pid is not None:
            return found
        async with self._starting.setdefault(name, asyncio.Lock()):
            found = self._locals.get(name)
            if found is None or found.pid is None:
                if found is not None:  # its process ended by itself
                    await found.stop()
                    self._upstreams.forget(endpoint)
                found = LocalModel(name)
                await found.start()
                self._locals[name] = found
        return found

    def web_app(self, key: Secret | None) -> web.Application:
        """The HTTP door."""
        app = web.Application(client_max_size=self.config.server.max_body, middlewares=[unmatched])
        gate, limits = Gate(key), self.limits
        for method, path, endpoint in self.routes:
            expect = expectation(path, gate, limits)
            app.router.add_route(method, path, entry(endpoint, path, gate, limits), expect_handler=expect)
        app.cleanup_ctx.append(limits.watched)
        return app

    def runner(self, key: Secret | None, patience: Patience = PATIENCE) -> Runner:
        """What serves the HTTP door; `patience` is what a client may take."""
        server = self.config.server
        return Runner(
            self.web_app(key),
            patience,
            (server.max_connections, server.max_connections_per_address),
            self.limits.refused,
            access_log=None,
            logger=http_log,
            handler_cancellation=True,
            auto_decompress=False,
            shutdown_timeout=LAST_CALL,
        )

    async def _alive(self, request: Request) -> Reply:
        return Reply(200, {"Content-Type": "text/plain"}, b"ok\n")

    async def _ready(self, request: Request) -> Reply:
        if self.listening and not self.limits.draining:
            return Reply(200, {"Content-Type": "text/plain"}, b"ready\n")
        return Reply(503, {"Content-Type": "text/plain", "Retry-After": "1"}, b"not ready\n")

    async def _metrics(self, request: Request) -> Reply:
        openmetrics = "openmetrics" in request.headers.get("Accept", "")
        await asyncio.to_thread(self.recorder.flush, 2.0)
        text = await asyncio.to_thread(lambda: self.recorder.prometheus(openmetrics=openmetrics))
        plain = "text/plain; version=0.0.4; charset=utf-8"
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8" if openmetrics else plain
        return Reply(200, {"Content-Type": kind}, text.encode())

    def _gauges(self) -> Iterable[tuple[Instrument, Labels, float]]:
        for name, deployment in list(self._worlds.deployments.items()):
            yield INFLIGHT, (name,), float(deployment.busy.count)
            yield CIRCUIT, (name,), STATES[deployment.circuit.state]
            yield HEALTH, (name,), float(deployment.pace.well)
            said = deployment.pace.signals
            if said is not None and said.up and clock.monotonic() - said.at <= OLD:
                for instrument, value in zip(ENGINE, (said.waiting, said.kv, said.hits, said.queries), strict=True):
                    yield instrument, (name,), value
        for reason, count in list(self.limits.refused.items()):
            yield REFUSED, (reason,), float(count)


def limits_of(config: Config) -> Limits:
    """What the config allows."""
    server = config.server
    return Limits(server.max_body, server.max_in_flight, max_bodies=server.max_bodies, max_lag=server.max_lag)


def address(host: str, port: int) -> str:
    """The base url of a listener."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _watch_parent(gone: Callable[[], None]) -> None:
    """End when the process that started this worker has ended: its end of our standard input closes with it."""
    loop, source = asyncio.get_running_loop(), sys.stdin.fileno()

    def closed() -> None:
        loop.remove_reader(source)
        gone()

    loop.add_reader(source, closed)


def _settled() -> None:
    """What is loaded by now lasts as long as the process: it is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.collect()  # the oldest are looked through when a quarter has come to what was left last time: that is nothing now, not all of this
    gc.set_threshold(*GENERATIONS)


async def _serve(config: Config, ready: Callable[[str], None]) -> int:
    memory.keep_apart()
    gateway = Gateway(config)
    stop, hurry = asyncio.Event(), asyncio.Event()
    main = asyncio.current_task()

    def told() -> None:
        if stop.is_set():
            hurry.set()
        gateway.limits.drain()
        stop.set()
        if main is not None and not gateway.listening:
            main.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    runner = gateway.runner(config.server.api_key)
    try:
        await gateway.start()
        await runner.setup()
        _settled()
        shared = config.server.workers > 1
        if shared:
            _watch_parent(told)
        server = config.server
        site = web.TCPSite(runner, server.host, server.port, backlog=BACKLOG, reuse_port=shared or None)
        await site.start()
        gateway.listening = True
        ready(address(config.server.host, runner.addresses[0][1]))
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(work) for work in (gateway.work(), memory.keep_small())]
            await stop.wait()
            await gateway.limits.drained(config.server.drain, hurry)
            for task in working:
                task.cancel()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        await runner.cleanup()
        await gateway.stop()
    return 0


def serve(config: Config, ready: Callable[[str], None] = lambda url: None) -> int:
    """Serve until SIGTERM or SIGINT; what `fw up` does. `ready` is called with the url once listening.

    Raises:
        OSError: the address cannot be listened on.
        LocalModelError, PullError, LedgerError: what it needs cannot be had; the message says what to do.
    """
    return uvloop.run(_serve(config, ready))
