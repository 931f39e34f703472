"""CPU per request of the gateway against a bare aiohttp pass-through, in one run on one machine.

Everything is on: a key, a policy, every call traced to a file, the ledger. Needs Linux, gcc, wrk, taskset, ss and two cores.

usage: overhead.py TOOLS [--seconds 4] [--rounds 3] [--json FILE] [--profile FILE]
TOOLS: the folder with overhead.py, paced_upstream.c and body.json.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
KEY = "sk-bench-0123456789abcdef"
CONFIG = """\
models:
  bench:
    deployments:
      - {{provider: vllm, url: "http://127.0.0.1:{port}/v1", machine_hour: 2.10 USD}}
policies: [{policy}]
agents: {{bench: bench}}
"""
POLICY = """\
policy: bench
baseline: bench
quality: {outcome: tests_pass, of: run, within: 1h, confidence: 90%}
default: {minimize: cost, require: [quality >= 98% of baseline, p95 ttft <= 2s]}
"""


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], log: Path, cwd: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=cwd, env={**os.environ, **env})
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(url: str, seconds: float = 30.0) -> None:
    """Return when `url` answers 200."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    sys.exit(f"{url} did not answer within {seconds:.0f} s")


def table(text: str) -> dict[str, dict[str, float]]:
    """The rows that overhead.py prints."""
    head, *rows = [line.split() for line in text.splitlines() if line.strip()]
    return {row[0]: dict(zip(head[1:], map(float, row[1:]), strict=True)) for row in rows}


def measure(args: argparse.Namespace, work: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Both shapes of request through both processes, interleaved."""
    tools = Path(args.tools)
    for name in ("overhead.py", "body.json"):
        shutil.copy(tools / name, work)
    subprocess.run(["gcc", "-O2", "-w", "-o", work / "paced", tools / "paced_upstream.c"], check=True)
    upstream, bare, gateway = free_port(), free_port(), free_port()
    (work / "bench.yaml").write_text(POLICY)
    (work / "fw.yaml").write_text(CONFIG.format(port=upstream, policy=work / "bench.yaml"))
    fw = [sys.executable, "-m", "fw_gateway", "up", "-c", str(work / "fw.yaml"), "--port", str(gateway)]
    env = {"FW_API_KEY": KEY, "FW_STATE_DIR": str(work / "state"), "FW_TRACES_FILE": str(work / "traces.jsonl")}
    headers = "header=x-fw-agent~bench;x-fw-step~plan;x-fw-run~run-1"
    specs = [f"bare={bare}", f"fwsdk={gateway},key={KEY},model=auto,{headers}"]
    found = {}
    with (
        running(["taskset", "-c", "1", str(work / "paced"), str(upstream), "0", "0", "64"], work / "paced.log", work),
        running(
            ["taskset", "-c", "0", sys.executable, str(HERE / "bare_aiohttp.py"), str(bare), str(upstream)],
            work / "bare.log",
            work,
        ),
        running(["taskset", "-c", "0", *fw], work / "gateway.log", work, **env) as process,
    ):
        wait_for(f"http://127.0.0.1:{gateway}/readyz")
        for shape, flags in {"whole": [], "stream": ["--stream"]}.items():
            command = [sys.executable, "overhead.py", *flags, "-d", str(args.seconds), "-r", str(args.rounds), *specs]
            out = subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout
            print(f"\n{shape}\n{out}", flush=True)
            found[shape] = table(out)
            if args.profile:
                profile(process.pid, Path(f"{args.profile}.{shape}.txt").absolute(), command, work)
        traced(work)
    return found


def profile(pid: int, out: Path, command: list[str], work: Path) -> None:
    """Where the gateway's time goes under the same load (needs py-spy)."""
    load = subprocess.Popen([*command[:-2], command[-1]], cwd=work, stdout=subprocess.DEVNULL)
    spy = ["py-spy", "record", "-p", str(pid), "-d", "4", "-r", "500", "-f", "raw", "-o", str(out)]
    subprocess.run(spy, check=False)
    load.wait()


def traced(work: Path) -> None:
    """Say how many calls were traced; a run that traced nothing measured nothing."""
    time.sleep(2)
    lines = b"".join(path.read_bytes() for path in work.glob("traces.jsonl*"))
    servers = len(re.findall(rb'"name":"POST /v1/chat/completions"', lines))
    print(f"\ntraced {servers} calls, {len(lines) / 2**20:.1f} MiB")
    if not servers:
        sys.exit("no call was traced: see gateway.log")


def main() -> None:
    """Measure, print the ratios, and fail when a budget is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    budgets = {"whole": 4.0, "stream": 3.0}
    broken = False
    for shape, rows in found.items():
        ratio = rows["fwsdk"]["cpu_us"] / rows["bare"]["cpu_us"]
        broken |= ratio > budgets[shape]
        print(f"{shape:7} {ratio:.2f}× a bare pass-through (budget {budgets[shape]:.0f}×)")
    memory = max(rows["fwsdk"]["rss_mib"] for rows in found.values())
    broken |= memory > 100
    print(f"memory  {memory:.0f} MiB (budget 100)")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
