"""`fw demo`, as a user runs it: a real model, a real gateway, one trace of the expected shape, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fw_agents import cli
from fw_gateway.providers.local import have, missing
from fw_gateway.telemetry import reader
from tests.telemetry.conformance import check

FW = Path(sys.executable).parent / "fw"
pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=f"llama.cpp: {missing()}"),
    pytest.mark.skipif(have("smollm2") is None, reason="the model is not here: `fw model pull smollm2`"),
    pytest.mark.timeout(180),
]


def environment(folder: Path) -> dict[str, str]:
    traces = {"FW_TRACES_FILE": str(folder / "traces.jsonl"), "FW_STATE_DIR": str(folder / "state")}
    return {**os.environ, **traces}


def demo(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run it without a terminal; what it says as JSON."""
    done = subprocess.run(
        [str(FW), "demo", "--json", *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def children_of(folder: Path) -> list[str]:
    """Processes that still have this folder's state in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder / "state").encode() in path.read_bytes():
                found.append(path.parent.joinpath("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("served")
    return folder, demo(folder)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("embedded")
    return folder, demo(folder, "--embedded")


def test_its_trace_is_one_run_of_the_expected_shape(served: tuple[Path, dict[str, Any]]) -> None:
    """1 invoke_agent, 3 steps, 3 calls, 3 requests, 3 routes, 3 attempts or more; no rule of the contract is broken."""
    spans = reader.read(served[0] / "traces.jsonl")
    assert len({span.trace_id for span in spans}) == 1
    kinds = Counter((span.scope, span.kind, span.name.split()[0]) for span in spans)
    assert kinds["fw.sdk", "INTERNAL", "invoke_agent"] == 1
    assert kinds["fw.sdk", "INTERNAL", "step"] == 3
    assert kinds["fw.sdk", "CLIENT", "chat"] == 3
    assert kinds["fw.gateway", "SERVER", "POST"] == 3
    assert kinds["fw.gateway", "INTERNAL", "route"] == 3
    assert kinds["fw.gateway", "CLIENT", "chat"] >= 3
    servers = {span.span_id for span in spans if span.kind == "SERVER"}
    assert {span.parent_id for span in spans if span.scope == "fw.gateway" and span.kind != "SERVER"} == servers
    assert check(spans) == []


def test_the_tokens_of_the_trace_are_the_tokens_that_were_billed(served: tuple[Path, dict[str, Any]]) -> None:
    """Usage stands once per token: the sum over all spans is what the ledger says."""
    folder, said = served
    used: Counter[str] = Counter()
    for span in reader.read(folder / "traces.jsonl"):
        for kind in ("input_tokens", "output_tokens"):
            used[kind] += span.attributes.get(f"gen_ai.usage.{kind}") or 0
    run = said["explain"]["run"]
    assert used["input_tokens"] == run["input_tokens"] > 0
    assert used["output_tokens"] == run["output_tokens"] > 0


def test_it_says_what_the_agent_found_and_what_was_not_used(served: tuple[Path, dict[str, Any]]) -> None:
    """Answers of every step, a cost, and the closed models with their reason."""
    said = served[1]
    assert said["answers"]["category"] in {"delivery", "refund", "account", "other"}
    assert said["answers"]["findings"]
    assert said["answers"]["answer"]
    run = said["explain"]["run"]
    assert run["cost"] > 0
    assert [item["excluded"] for item in run["excluded"]] == ["no_credential"] * 8


def test_it_ends_with_an_audit_of_real_outcomes(served: tuple[Path, dict[str, Any]]) -> None:
    """At most 15 lines: a price, the savings that are proven, and what is refused."""
    audited = served[1]["audit"]
    assert 0 < len(audited["text"]) <= 15
    assert audited["baseline"] in audited["text"][1]
    assert [promise["ratio"] for promise in audited["promises"]] == [0.98, 0.95]
    assert any(line.startswith("refused") for line in audited["text"])


def test_both_doors_make_the_same_plan(
    served: tuple[Path, dict[str, Any]], embedded: tuple[Path, dict[str, Any]]
) -> None:
    """Gateway and embedded, from the same state: policy version, reason and targets agree at every step."""

    def plans(said: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [
            (step["step"], d["version"], d["reason"], d["strategy"], tuple(t["deployment"] for t in d["targets"]))
            for step in said["explain"]["run"]["steps"]
            for d in step["decisions"]
        ]

    assert plans(served[1]) == plans(embedded[1])
    assert len(plans(served[1])) == 3


def test_the_embedded_run_has_a_trace_that_breaks_no_rule(embedded: tuple[Path, dict[str, Any]]) -> None:
    """The framework speaks HTTP, so its calls go through a loopback listener of this process, and look the same."""
    spans = reader.read(embedded[0] / "traces.jsonl")
    assert len({span.trace_id for span in spans}) == 1
    assert check(spans) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_nothing_is_left_running(served: tuple[Path, dict[str, Any]], embedded: tuple[Path, dict[str, Any]]) -> None:
    """Gateway and model end with the demo."""
    assert children_of(served[0]) + children_of(embedded[0]) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: int) -> None:
    """Ctrl-C, or a supervisor's signal, in the middle of it."""
    process = subprocess.Popen(
        [str(FW), "demo"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "It is up" in line:
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    end = time.monotonic() + 20
    while children_of(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert children_of(tmp_path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_comes_while_an_object_ends_is_not_lost() -> None:
    """Nothing that is raised there goes anywhere, not even the end of the program."""

    class Ending:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    try:
        told = cli._ending(signal.SIGUSR1)
        del_me = Ending()
        del del_me
        assert told == [signal.SIGUSR1]
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
