"""Several processes behind one port: one crash costs its own requests, one signal ends all, and what each learns all know."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fw_gateway.ledger import SqliteLedger
from fw_gateway.ledger.sqlite import FILE
from fw_gateway.state.shared import Shared
from fw_policies.estimate import Observation, Statistics
from tests.endtoend.conftest import Gateway, gateway_of, until
from tests.endtoend.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="--workers needs Linux")]


CAP = 0.0015
POLICY = f"""policy: capped
baseline: fx-ok
run: [cost <= {CAP} USD]
default: {{minimize: cost}}
"""


def config(url: str, folder: Path) -> str:
    """Two workers, and a policy with a limit on runs."""
    (folder / "capped.yaml").write_text(POLICY)
    price = "{input: 1 USD/Mtok, output: 1 USD/Mtok}"
    place = f"{{provider: openai_compatible, url: '{url}', key_env: KEY, price: {price}}}"
    models = ", ".join(f"{name}: {{deployments: [{place}]}}" for name in ("fx-ok", "fx-slow"))
    return f"server: {{workers: 2, idempotency: disk}}\nmodels: {{{models}}}\npolicies: [capped.yaml]\n"


def children(pid: int) -> list[int]:
    """The workers."""
    return [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def two(upstream: Upstream, folder: Path) -> Iterator[Gateway]:
    """A gateway of two workers, both of them ready."""
    with gateway_of(config(upstream.url, folder), folder, KEY="k") as found:
        until(lambda: "fw is up" in found.log(), 60, "readiness")
        yield found


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests that leave it as it is."""
    with two(upstream, tmp_path_factory.mktemp("workers")) as found:
        yield found


def test_the_work_is_shared_and_every_row_is_written_once(gateway: Gateway) -> None:
    """Both workers serve; readiness is said once; 60 calls are 60 rows, whichever asked for them."""
    assert len(children(gateway.process.pid)) == 2
    names = set()
    for _ in range(60):
        answer = gateway.chat("fx-ok")
        assert answer.status == 200
        names.add(answer.headers["x-fw-decision-id"])
    instances = set()
    for _ in range(40):
        page = gateway.ask("GET", "/metrics").body.decode()
        instances.add(re.search(r'service_instance_id="([^"]+)"', page)[1])  # type: ignore[index]
    assert len(instances) == 2
    with contextlib.closing(sqlite3.connect(gateway.folder / "state" / FILE)) as ledger:
        assert {row[0] for row in ledger.execute("SELECT decision_id FROM calls")} == names
    assert gateway.log().count("fw is up") == 1


def test_an_answer_is_replayed_by_any_worker(gateway: Gateway, upstream: Upstream) -> None:
    """With `idempotency: disk`."""
    before = len(upstream.log)
    answers = [gateway.chat("fx-ok", headers={"idempotency-key": "k"}) for _ in range(20)]
    assert len({answer.body for answer in answers}) == 1
    assert len(upstream.log) == before + 1


def test_twins_that_arrive_at_both_workers_at_once_are_one_attempt(gateway: Gateway, upstream: Upstream) -> None:
    """Twelve connections, which the kernel shares out: one asks, the others wait for its answer."""
    for number in range(3):
        before = len(upstream.log)
        with ThreadPoolExecutor(12) as threads:
            asked = [
                threads.submit(gateway.chat, "fx-slow", stream=True, headers={"idempotency-key": f"twins-{number}"})
                for _ in range(12)
            ]
            answers = [one.result() for one in asked]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert sum("x-fw-idempotent-replay" in answer.headers for answer in answers) == 11
        assert len(upstream.log) == before + 1


def test_what_a_run_has_spent_is_known_to_every_worker(gateway: Gateway) -> None:
    """They serve up to its limit together, and refuse what would go beyond."""
    spent = 0.0
    codes = []
    for _ in range(40):
        answer = gateway.chat("auto", max_tokens=60, headers={"x-fw-policy": "capped", "x-fw-run": "r"})
        codes.append(answer.status)
        spent += float(answer.headers.get("x-fw-cost", 0))
    assert codes[0] == 200
    assert codes[-1] in {402, 503}
    assert 0.5 * CAP < spent < 1.1 * CAP  # this upstream bills more input than there is


def test_a_verdict_is_not_asked_for(gateway: Gateway) -> None:
    """It may reach a worker that knows nothing of the answer: 400, at once."""
    answer = gateway.chat("fx-ok", headers={"x-fw-verify": "tests"})
    assert answer.status == 400
    assert "workers" in answer.error["message"]


def test_a_crashed_worker_is_back_within_two_seconds(gateway: Gateway) -> None:
    """The other one serves meanwhile."""
    first, second = children(gateway.process.pid)
    os.kill(first, signal.SIGKILL)
    start = time.monotonic()
    until(lambda: first not in children(gateway.process.pid), what="its end")
    assert all(gateway.chat("fx-ok").status == 200 for _ in range(10))
    until(lambda: len(children(gateway.process.pid)) == 2, what="another")
    started = time.monotonic() - start
    new = next(pid for pid in children(gateway.process.pid) if pid != second)
    until(lambda: listens(new, gateway.port), 20, "its listening")
    assert started < 2
    assert "is started again" in gateway.log()


def listens(pid: int, port: int) -> bool:
    """Whether a process has a listening socket on a port."""
    inodes = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        row[3] == "0A" and int(row[1].split(":")[1], 16) == port and f"socket:[{row[9]}]" in inodes for row in rows
    )


def test_a_stream_ends_before_its_worker_does(upstream: Upstream, tmp_path: Path) -> None:
    """SIGTERM reaches the workers, which drain; the exit code is 0."""
    with two(upstream, tmp_path) as gateway:
        body = json.dumps(
            {"model": "fx-slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        ).encode()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            data = client.recv(65536)
            gateway.process.send_signal(signal.SIGTERM)
            while more := client.recv(65536):
                data += more
        assert b"[DONE]" in data
        assert gateway.process.wait(20) == 0


def test_workers_do_not_outlive_who_started_them(upstream: Upstream, tmp_path: Path) -> None:
    """Killed without a word, it takes them along: their standard input ends."""
    with two(upstream, tmp_path) as gateway:
        workers = children(gateway.process.pid)
        gateway.process.kill()
        until(lambda: not any(alive(pid) for pid in workers), 15, "their end")


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def up(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`fw up` that ends by itself."""
    (folder / "fw.yaml").write_text(text)
    command = [sys.executable, "-m", "fw_gateway", "up", "-c", str(folder / "fw.yaml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


PLACE = "models: {one: {deployments: [{provider: vllm, url: 'http://127.0.0.1:1/v1', machine_hour: 1 USD}]}}\n"
UNFIT = {
    "a model of this process": (
        "models: {smollm2: {deployments: [{provider: embedded, machine_hour: 1 USD}]}}\n",
        "llama.cpp",
    ),
}


@pytest.mark.parametrize(("text", "words"), UNFIT.values(), ids=UNFIT.keys())
def test_what_several_processes_cannot_keep_is_not_promised(tmp_path: Path, text: str, words: str) -> None:
    """It is said at the start, with 2."""
    ended = up(tmp_path, text, "--workers", "2", "--port", "0")
    assert ended.returncode == 2
    assert words in ended.stderr


def test_a_port_that_is_taken_is_said_once(tmp_path: Path) -> None:
    """With 1, also when whoever has it would share it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = up(tmp_path, PLACE, "--workers", "2", "--port", str(other.getsockname()[1]))
    assert ended.returncode == 1
    assert ended.stderr.count("cannot listen") == 1


def seen(model: str, latency: float) -> Observation:
    """One good call."""
    return Observation(agent="a", step="s", model=model, deployment=f"{model}@x", ok=True, ttft=None, latency=latency,
                       input_tokens=None, expected_tokens=None, output_tokens=5, cached_tokens=None, cost=None,
                       machine_seconds=None, error_type="")  # fmt: skip


def test_what_workers_learn_adds_up(tmp_path: Path) -> None:
    """Two that observe in turns and exchange now and then know together what one would that had seen all, and so does the file."""
    ledger = SqliteLedger(tmp_path / FILE)
    whole = Statistics()
    workers = [Shared(), Shared()]
    for number in range(90):
        one = workers[number % 2]
        found = seen("m" if number % 3 else "n", 0.125 * (1 + number % 7))
        one.observe(found)
        whole.observe(found)
        if number % 11 == 0:
            added = one.take()
            together = ledger.update_statistics(lambda saved, added=added: added.to(saved, {}))  # type: ignore[misc]
            workers[number % 2] = one.renewed(together)
    for each in workers:
        added = each.take()
        together = ledger.update_statistics(lambda saved, added=added: added.to(saved, {}))  # type: ignore[misc]
    saved = {name: part for name, part in (ledger.load_statistics() or {}).items() if name != "drift"}
    ledger.close()
    assert Statistics.from_dict(saved).to_dict() == json.loads(json.dumps(whole.to_dict()))


def test_what_is_void_for_one_worker_is_void_for_all(tmp_path: Path) -> None:
    """Forgetting is no sum: it is done again on what all have seen, and what came after it stays."""
    first, second = Shared(), Shared()
    for _ in range(5):
        second.observe(seen("m", 9.0))
    together = second.take().to(None, {"void": {"x": "old"}})
    first.moved(("a", "s", "m@x"), "latency", 0.0)
    first.observe(seen("m", 0.1))
    total = Statistics.from_dict(first.take().to(together, {"void": {"y": "new"}}))
    assert total._tables["latency"]["a", "s", "m@x"].total == 1
    assert first.renewed(together)._tables["latency"]["a", "s", "m@x"].total == 5
