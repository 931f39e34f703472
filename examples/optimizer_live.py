r"""The optimizer at work, in about a minute and with no network: three models of different quality, speed and price behind one gateway.

`big` is today's model. `small` is nearly as good at a tenth of the price; `tiny` is nearly free and often wrong. The policy asks for
80 % right answers and a p95 latency, at least cost. Watch the gateway prove `small` with outcomes and move to it; never let `tiny` serve
outside `explore`; take a price change at once and keep the evidence; serve a certificate that `fw policy compile` wrote; and leave a
deployment that slows down.

usage: python examples/optimizer_live.py [--calls 1500] [--seed 0] [--json FILE]

With models of your own, the best first (what is slowed down and counted goes through this program):
    python examples/optimizer_live.py --upstream big=http://127.0.0.1:8001/v1,model-a --upstream small=… --upstream tiny=… \\
        --floor 60 --limit 20 --streams 2
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from fw_policies.estimate.intervals import bounded_mean
from fwsdk import AsyncClient, FwError

PRICES = {"big": 2.0, "small": 0.2, "tiny": 0.02}
"""US dollars per million tokens of output; input costs a fifth."""
MODELS = {"big": (0.97, 0.110), "small": (0.96, 0.090), "tiny": (0.55, 0.040)}
"""Share of right answers, and median seconds of an answer."""
POLICY = """\
policy: sums
baseline: big
quality: {{outcome: right, of: step, confidence: 90%}}
explore: {{share: 30%, max_cost: 1 USD/day, max_quality_loss: 45pt}}
default:
  minimize: cost
  require: [quality >= {floor}%, p95 latency <= {limit}s]
"""
SYSTEM = "Answer with the number alone."


@dataclass
class Upstream:
    """Three models on loopback: an OpenAI-compatible server that takes its time and knows how often to be wrong.

    With `real` ones it passes questions on to them, and still can slow one down.
    """

    dice: random.Random
    real: dict[str, tuple[str, str]]
    """Name -> (base url, the name there)."""
    slower: dict[str, float] = field(default_factory=dict)
    """Name -> factor on its time."""

    async def chat(self, request: web.Request) -> web.Response:
        """One answer."""
        asked = await request.json()
        begun = time.perf_counter()
        body = await (self._relayed(asked) if self.real else self._made(asked))
        took = time.perf_counter() - begun
        await asyncio.sleep(took * (self.slower.get(asked["model"], 1.0) - 1))
        return web.Response(body=body, content_type="application/json")

    async def _made(self, asked: dict[str, Any]) -> bytes:
        """Right with the model's own probability, after about its median time."""
        right, median = MODELS[asked["model"]]
        text = asked["messages"][-1]["content"]
        await asyncio.sleep(median * self.dice.lognormvariate(0, 0.15))
        result = truth(text) + (0 if self.dice.random() < right else self.dice.randint(1, 9))
        message = {"role": "assistant", "content": str(result)}
        usage = {"prompt_tokens": 30, "completion_tokens": 40, "total_tokens": 70}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"]}
        return json.dumps({**head, "choices": [choice], "usage": usage}).encode()

    async def _relayed(self, asked: dict[str, Any]) -> bytes:
        url, model = self.real[asked["model"]]
        body = {**asked, "model": model}
        async with (
            ClientSession(timeout=ClientTimeout(120)) as session,
            session.post(f"{url}/chat/completions", json=body) as answer,
        ):
            return await answer.read()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its base url while it listens."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            await runner.cleanup()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def truth(text: str) -> int:
    """The result of the sum that a question asks for."""
    return sum(int(number) for number in re.findall(r"\d+", text))


def is_right(text: str, answer: str) -> bool:
    """Whether the last number of an answer is the result."""
    found = re.findall(r"\d+", answer)
    return bool(found) and int(found[-1]) == truth(text)


@dataclass
class Call:
    """What one call was given."""

    model: str
    decision: str
    explored: bool
    certified: bool
    """Its model is one of those that a lock has certified."""
    right: bool
    seconds: float
    cost: int | None
    """Nano-USD."""


@dataclass
class Live:
    """A gateway process over a state folder, and the calls that were made through it."""

    folder: Path
    upstream: str
    floor: int
    limit: float
    streams: int
    dice: random.Random
    prices: dict[str, float] = field(default_factory=lambda: dict(PRICES))
    calls: list[Call] = field(default_factory=list)
    certified: frozenset[str] = frozenset()
    """Models of the lock that `fw policy compile` wrote."""
    url: str = ""
    read: int = 0
    """Bytes of the gateway's log that were told."""

    @property
    def _env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("FW_", "OTEL_"))}
        return {
            **clean,
            "FW_STATE_DIR": str(self.folder / "state"),
            "FW_TRACES_FILE": str(self.folder / "traces.jsonl"),
        }

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[None]:
        """`fw up` with the prices as they are now; state and statistics stay in the folder."""
        port, path = free_port(), self._config()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "fw_gateway", "up", "-c", str(path), "--port", str(port)]
        with (self.folder / "gateway.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=self._env)
        try:
            await self._ready(process)
            async with AsyncClient(self.url) as fw:  # what is loaded at the first call is no fault of the models
                await fw.chat("What is 10 plus 10?", model="tiny", max_tokens=8)
            yield
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)

    async def compiled(self) -> str:
        """What `fw policy compile` says of all calls so far; its lock is what the next gateway reads."""
        command = [
            sys.executable,
            "-m",
            "fw_gateway",
            "policy",
            "compile",
            "sums",
            "--write",
            "-c",
            str(self._config()),
        ]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=self._env)
        said, complained = await process.communicate()
        if process.returncode:
            raise SystemExit(f"fw policy compile failed: {complained.decode()}")
        lock = json.loads((self.folder / "locks" / "sums.lock.json").read_text())
        arms = lock["steps"].get("add", {}).get("arms", ())
        self.certified = frozenset(model for arm in arms for model in arm["models"])
        return said.decode()

    def drifted(self) -> list[str]:
        """What the gateway has logged since the last time: what it knew and found to hold no more."""
        text = (self.folder / "gateway.log").read_bytes()[self.read :]
        self.read += len(text)
        return [line.split("WARNING ", 1)[1] for line in text.decode().splitlines() if "WARNING fw.drift" in line]

    def _config(self) -> Path:
        (self.folder / "sums.yaml").write_text(POLICY.format(floor=self.floor, limit=self.limit))
        lines = ["models:"]
        for name, price in self.prices.items():
            priced = f"{{input: {price / 5:g} USD/Mtok, output: {price:g} USD/Mtok}}"
            place = f"{{provider: openai_compatible, name: here, url: '{self.upstream}', price: {priced}}}"
            lines.append(f"  {name}: {{max_output: 256, deployments: [{place}]}}")
        path = self.folder / "fw.yaml"
        path.write_text("\n".join([*lines, "policies: [sums.yaml]", ""]))
        return path

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        async with ClientSession(timeout=ClientTimeout(2)) as session:
            for _ in range(300):
                if process.returncode is not None:
                    break
                with contextlib.suppress(OSError):
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)
        raise SystemExit(f"the gateway did not start:\n{(self.folder / 'gateway.log').read_text()}")

    async def send(self, most: int, *, until: frozenset[str], quiet: int = 25) -> int | None:
        """Up to `most` calls, each with its outcome; ends when the last `quiet` of those that were not explored went to one of `until`.

        Returns how many calls had begun when the first of those was made; None: the plan did not get there.
        """
        start, left, arrived = len(self.calls), iter(range(most)), asyncio.Event()

        async def worker(fw: AsyncClient) -> None:
            for _ in left:
                if arrived.is_set():
                    return
                await self._one(fw)
                planned = [call.model for call in self.calls[start:] if not call.explored]
                if len(planned) >= quiet and until.issuperset(planned[-quiet:]):
                    arrived.set()

        async with AsyncClient(self.url) as fw:
            await asyncio.gather(*(worker(fw) for _ in range(self.streams)))
        if not arrived.is_set():
            return None
        others = [
            place for place, call in enumerate(self.calls[start:]) if not call.explored and call.model not in until
        ]
        return others[-1] + 1 if others else 0

    async def _one(self, fw: AsyncClient) -> None:
        text = f"What is {self.dice.randint(10, 99)} plus {self.dice.randint(10, 99)}?"
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        begun = time.perf_counter()
        try:
            async with fw.run("sums") as run, run.step("add"):
                answer = await fw.chat(messages, max_tokens=64, temperature=0)
        except FwError as error:
            print(f"  a call failed: {error}", file=sys.stderr)
            return
        took, right = time.perf_counter() - begun, is_right(text, answer.text)
        await fw.outcome({"right": right}, decision=answer.decision_id)
        explored = self._ledger("SELECT explored FROM calls WHERE decision_id = ?", answer.decision_id)
        certified = answer.model in self.certified
        self.calls.append(
            Call(answer.model, answer.decision_id, bool(explored), certified, right, took, answer.cost.nano)
        )

    def _ledger(self, query: str, value: str) -> Any:
        """One value of the gateway's own ledger."""
        with contextlib.closing(sqlite3.connect(self.folder / "state" / "ledger.sqlite")) as ledger:
            return (ledger.execute(query, (value,)).fetchone() or (None,))[0]

    async def explained(self) -> str:
        """EXPLAIN ANALYZE of the newest call that was not explored."""
        last = next(call for call in reversed(self.calls) if not call.explored)
        async with AsyncClient(self.url) as fw:
            return str(await fw.explain(decision=last.decision))


def measured(calls: Sequence[Call], live: Live) -> dict[str, Any]:
    """What the caller saw of the calls that were not explored, beside what the policy asked for; None where there were none."""
    planned = [call for call in calls if not call.explored]
    right, slow = sum(call.right for call in planned), sum(call.seconds > live.limit for call in planned)
    return {
        "calls": len(calls),
        "explored": sum(call.explored for call in calls),
        "right": right / len(planned) if planned else None,
        "interval": list(bounded_mean(len(planned), right, right, 0.90)) if planned else None,
        "slower_than_limit": slow / len(planned) if planned else None,
        "cost": sum(call.cost or 0 for call in calls) / 1e9,
        "served": {name: sum(call.model == name for call in planned) for name in PRICES},
        "drift": live.drifted(),
    }


def told(name: str, moved: int | None, found: dict[str, Any]) -> None:
    """A phase in three lines, and one for each thing that the gateway found changed."""
    said = "the plan did not move" if moved is None else f"moved after {moved} calls"
    print(f"\n== {name}: {said}")
    served = ", ".join(f"{model} {count}" for model, count in found["served"].items() if count)
    print(
        f"   {found['calls']} calls, {found['explored']} of them explored; by plan: {served or 'none'}; ${found['cost']:.5f}"
    )
    if found["interval"] is not None:
        low, high = found["interval"]
        print(
            f"   right {found['right']:.1%} [{low:.1%}, {high:.1%}]; slower than the limit {found['slower_than_limit']:.1%}"
        )
    for line in found["drift"]:
        print(f"   {line}")


async def story(live: Live, upstream: Upstream, most: int) -> dict[str, Any]:
    """The phases."""
    out: dict[str, Any] = {}

    async def phase(name: str, *until: str) -> None:
        start = len(live.calls)
        moved = await live.send(most, until=frozenset(until))
        out[name] = {"until": until, "moved_after": moved, **measured(live.calls[start:], live)}
        told(name, moved, out[name])
        if any(not call.explored for call in live.calls[start:]):
            out[name]["text"] = await live.explained()
            print("\n" + out[name]["text"])

    async with live.gateway():
        await phase("day one, and the proof", "small")
    live.prices["small"] *= 10 * 1.05
    async with live.gateway():
        await phase("small costs ten times as much", "big")
    live.prices = dict(PRICES)
    async with live.gateway():
        await phase("its old price again", "small")
    lock = await live.compiled()
    print("\n$ fw policy compile sums --write\n" + lock)
    async with live.gateway():
        await phase("as compiled", *(live.certified or {"small"}))
        out["as compiled"]["lock"] = lock
        upstream.slower["small"] = 5.0
        await phase("small is five times slower", "big")
    return out


def summed(live: Live) -> dict[str, Any]:
    """Over all phases: what was saved, and whether anything unproven served outside `explore`."""
    known = [call for call in live.calls if call.cost is not None]
    dear = [call.cost for call in known if call.model == "big" and call.cost is not None]
    paid, whole = sum(call.cost or 0 for call in known), sum(dear) / len(dear) * len(known) if dear else 0.0
    wrong = sum(call.model == "tiny" and not call.explored and not call.certified for call in live.calls)
    return {"calls": len(live.calls), "paid": paid / 1e9, "all_on_big": whole / 1e9, "unproven_outside_explore": wrong}


async def main() -> int:
    """Run the story; 1 when the plan did not move as it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1500, help="calls of a phase at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streams", type=int, default=8, help="calls at a time")
    parser.add_argument("--floor", type=int, default=80, help="per cent of answers that must be right")
    parser.add_argument("--limit", type=float, default=0.4, help="seconds of the 95th percentile")
    parser.add_argument("--upstream", action="append", default=[], metavar="NAME=URL,MODEL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    asked = parser.parse_args()
    real = {}
    for text in asked.upstream:
        name, _, rest = text.partition("=")
        url, _, model = rest.partition(",")
        if name not in PRICES or not model:
            parser.error(
                f"--upstream {text}: write one of {', '.join(PRICES)}, as big=http://127.0.0.1:8001/v1,model-a"
            )
        real[name] = (url.rstrip("/"), model)
    if real and set(real) != set(PRICES):
        parser.error(f"--upstream: give all of {', '.join(PRICES)}, or none")
    dice = random.Random(asked.seed)  # noqa: S311 - questions and errors of a demonstration
    upstream = Upstream(dice, real)
    with tempfile.TemporaryDirectory(prefix="fw-live-") as folder:
        async with upstream.serving() as url:
            live = Live(Path(folder), url, asked.floor, asked.limit, asked.streams, dice)
            begun = time.perf_counter()
            found = await story(live, upstream, asked.calls)
    whole = {**summed(live), "seconds": time.perf_counter() - begun}
    print(
        f"\n== {whole['calls']} calls in {whole['seconds']:.0f} s cost ${whole['paid']:.5f}; all on big: ${whole['all_on_big']:.5f}."
        f" Unproven outside explore: {whole['unproven_outside_explore']}"
    )
    if asked.json is not None:
        asked.json.write_text(json.dumps({"phases": found, "whole": whole}, indent=1) + "\n")
    moved = all(one["moved_after"] is not None for one in found.values())
    return 0 if moved and not whole["unproven_outside_explore"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
