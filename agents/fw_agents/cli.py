"""`fw demo`: a gateway with a real model in it, a three-step agent on top, and everything that can be seen of it afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from fw_agents.langgraph import ChatGateway
from fw_agents.support.case import CASE, RIGHT
from fw_agents.support.graph import build
from fwsdk import Client, FwError

STATE = ".fw"
START = 300.0
"""Seconds that the gateway gets to come up; the first time it fetches the model."""
AUDIT = 60.0
"""Seconds that the audit of the sample gets; it takes two or three."""
GRACE = 15.0
"""Seconds that the gateway gets to go down."""


class Say:
    """Prints for people, or collects for `--json`."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ  # noqa: TID251 - a convention of terminals
        self.found: dict[str, Any] = {}

    def line(self, text: str = "") -> None:
        """One line."""
        if not self._json:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def title(self, text: str) -> None:
        """A heading."""
        self.line(f"\n\x1b[1m{text}\x1b[0m" if self._bold else f"\n{text}")

    def piece(self, text: str) -> None:
        """A piece of an answer, as it comes."""
        if not self._json:
            sys.stdout.write(text)
            sys.stdout.flush()


@contextlib.contextmanager
def gateway(config: Path, traces: str) -> Iterator[str]:
    """A gateway in a process of its own, on a free loopback port; its url. Ends with the block.

    Raises:
        typer.Exit: it did not start; it said why.
    """
    command = [
        sys.executable,
        "-m",
        "fw_gateway",
        "up",
        "-c",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--json",
    ]
    env = {**os.environ, "FW_TRACES_FILE": traces}  # noqa: TID251 - the child's environment is ours and one thing more
    env.setdefault("FW_STATE_DIR", STATE)
    log = Path(env["FW_STATE_DIR"]) / "gateway.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=env, text=True)  # noqa: S603
    late = threading.Timer(START, process.kill)
    late.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        late.cancel()
        if not line.startswith("{"):
            process.wait(GRACE)
            sys.stderr.write(log.read_text(encoding="utf-8"))
            raise typer.Exit(1)
        yield str(json.loads(line)["url"])
    finally:
        late.cancel()
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def run(fw: Client, say: Say) -> None:
    """The agent's run: every answer as it streams, then EXPLAIN ANALYZE, the cost, the outcome."""
    graph = build(ChatGateway(client=fw))
    say.title(f"The case   {CASE['message']}")
    with fw.run("helpdesk", budget="0.05 USD") as found:
        step, state = "", dict(CASE)
        stream = cast("Iterator[tuple[str, Any]]", graph.stream(CASE, stream_mode=["messages", "updates"]))
        for mode, data in stream:
            if mode == "messages":
                chunk, about = data
                if about["langgraph_node"] != step:
                    step = about["langgraph_node"]
                    say.piece(f"\n  {step:<12}")
                say.piece(chunk.text.replace("\n", " "))
            elif mode == "updates":
                for change in data.values():
                    state.update(change)
        say.line()
        right = state.get("category") == RIGHT
        fw.outcome({"category_right": right}, run=found.id, step="triage", source="fw demo")
        explained = found.explain()
    say.title("EXPLAIN ANALYZE of the run")
    say.line(str(explained))
    say.line(f"{'outcome':<10}  category_right = {str(right).lower()}, reported for triage")
    say.found |= {
        "run": found.id,
        "answers": state,
        "category_right": right,
        "explain": explained.model_dump(mode="json"),
    }


@contextlib.contextmanager
def auditing() -> Iterator["subprocess.Popen[str]"]:
    """`fw audit --sample` beside the rest of the demo: it takes two seconds that nobody need wait for."""
    command = [sys.executable, "-m", "fw_gateway", "audit", "--sample", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def audited(process: "subprocess.Popen[str]") -> dict[str, Any] | None:
    """What the audit found, as JSON with its lines of text; None: this gateway cannot say."""
    try:
        found = json.loads(process.communicate(timeout=AUDIT)[0])
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return found if isinstance(found, dict) and process.returncode == 0 else None


def _ending(*signals: int) -> list[int]:
    """End when one of them comes. They are noted too: an exception that is raised while a module is imported, or an object ends, is lost."""
    told: list[int] = []

    def end(number: int, _frame: object) -> None:
        told.append(number)
        sys.exit(128 + number)

    for number in signals:
        signal.signal(number, end)
    return told


def demo(
    embedded: Annotated[bool, typer.Option("--embedded", help="In this process, without a server.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """A three-step support agent on a real model on this machine: its answers, its plan, its cost, its trace."""
    say = Say(as_json=as_json)
    traces = os.environ.setdefault("FW_TRACES_FILE", str(Path(STATE) / "traces.jsonl"))  # noqa: TID251 - read by the SDK
    state = os.environ.setdefault("FW_STATE_DIR", STATE)  # noqa: TID251 - read by the engine when embedded
    told = _ending(signal.SIGTERM, signal.SIGINT)  # so that the gateway ends with us
    say.line("SmolLM2-135M on this machine: small, real, and sometimes wrong. The point is what can be seen of it.")
    with as_file(files("fw_agents.support")) as folder, auditing() as process:
        try:
            if embedded:
                with Client.embedded(str(folder / "fw.yaml")) as fw:
                    run(fw, say)
            else:
                say.line("Starting the gateway (the model comes first, if it is not here yet) …")
                with gateway(folder / "fw.yaml", traces) as url, Client(url) as fw:
                    say.line(f"It is up at {url}.")
                    run(fw, say)
        except FwError as fault:
            sys.stderr.write(f"fw demo: {fault}\nThe gateway's own log is in {state}/gateway.log.\n")
            raise typer.Exit(1) from None
        if told:
            sys.exit(128 + told[0])
        say.found["traces"] = traces
        say.found["audit"] = sample = audited(process)
    if as_json:
        sys.stdout.write(json.dumps(say.found, indent=2) + "\n")
        return
    if sample is not None:
        say.title("And on outcomes that were not made here")
        for line in sample["text"]:
            say.line(line)
    say.title("See more")
    say.line("  fw trace show last                the spans of this run")
    say.line(f"  fw explain run {say.found['run']}   this tree again")
    say.line("  fw audit FILE                     the same of your own calls, from an export")
    say.line("  fw up                             a gateway of your own; fw policy list shows what it can be asked")
    say.line(f"  {traces}{' ' * max(2, 34 - len(traces))}OpenTelemetry, one line per batch")
