"""`python -m tests.faults.suite`: start the upstream and a gateway, run the checks, write the scorecard."""

import argparse
import asyncio
import datetime as dt
import os
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.suite import checks as _checks
from tests.faults.suite import score
from tests.faults.suite.adapter import Adapter, Gateway, Unstartable
from tests.faults.suite.bench import Bench
from tests.faults.suite.check import CHECKS, FAIL, HUNG, SAFE, STRANGER, WORST, Check, Finding
from tests.faults.suite.promises import PROMISES
from tests.faults.upstream.launch import Control, running

try:
    from uvloop import run
except ImportError:
    from asyncio import run

SCORECARD = Path(__file__).parents[1] / "SCORECARD.md"
STAGES = "AMBDL"
REPLICAS = 3
SETTLE = 4.0
"""Seconds that the checks which run beside the others get to begin."""
Findings = dict[str, tuple[Check, Finding]]
EXAMPLES = """examples:
  make faults                                       everything, in the fast profile; writes tests/faults/SCORECARD.md
  python -m tests.faults.suite --row 28 --row 32    two rows
  python -m tests.faults.suite --list               every check
  python -m tests.faults.suite --json > score.json  the findings with their raw observations
  python -m tests.faults.suite --adapter litellm    another gateway
  python -m tests.faults.suite soak --minutes 30    row 6

exit status: 0 when the run is complete and saw no never-event, 1 when it saw one, 2 when it could not run
"""


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.suite",
        description="Black-box checks of a gateway before an upstream that misbehaves. Stages: A conformance, B upstream faults, "
        "M memory, D hostile input, L load.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=["run", "soak"], default="run")
    parser.add_argument("--adapter", default="fwsdk", help="a name in suite/adapters, or a path (default fwsdk)")
    parser.add_argument(
        "--row", type=int, action="append", metavar="N", help="only this row; may be given several times"
    )
    parser.add_argument("--check", action="append", metavar="ID", help="only this check, as --list names it")
    parser.add_argument("--stage", choices=list(STAGES), action="append", help="only this stage")
    parser.add_argument(
        "--profile", choices=["fast", "full"], default="fast", help="short form, or the figures as promised"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the soak")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON instead of progress")
    parser.add_argument("--list", action="store_true", help="print the checks and end")
    parser.add_argument(
        "--scorecard", type=Path, metavar="FILE", help="where to write (a run of everything: SCORECARD.md)"
    )
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Check]:
    """The checks to run, in the order of stages and rows."""
    if given.command == "soak":
        return [one for one in CHECKS if one.id == "6.soak"]
    found = [
        one
        for one in CHECKS
        if (not (given.row or given.check) or one.row in (given.row or ()) or one.id in (given.check or ()))
        and (not given.stage or one.stage in given.stage)
    ]
    return sorted(found, key=lambda one: (STAGES.index(one.stage), one.row))


def say(text: str, given: argparse.Namespace) -> None:
    """Progress, where it does not disturb."""
    print(text, file=sys.stderr if given.json else sys.stdout, flush=True)


async def finding_of(bench: Bench) -> Finding:
    """Run one check. Whatever goes wrong with it is a finding too."""
    began = time.monotonic()
    strangers = len(bench.control.state()["thief"])
    try:
        async with asyncio.timeout(bench.check.limit + 60 * float(bench.shared.get("minutes", 0))):
            found = await bench.check.run(bench)
    except TimeoutError:
        found = Finding(
            FAIL, f"not over after {bench.check.limit:.0f} s", "the check hung", [f"{HUNG}: {bench.check.id}"]
        )
    except Exception as fault:  # noqa: BLE001 - a check that breaks on what it is given has found something
        found = Finding(FAIL, "the check broke", f"{type(fault).__name__}: {fault}")
    if not bench.gateway.alive:
        found = Finding(FAIL, "the gateway ended", found.why, found.never)
    found.never += [f"{STRANGER}: {one['text'][:80]!r}" for one in bench.control.state()["thief"][strangers:]]
    found.seconds = time.monotonic() - began
    return found


def better(first: Finding, second: Finding) -> Finding:
    """The better of two runs; what must never happen is counted of both."""
    found, other = (second, first) if WORST[second.verdict] > WORST[first.verdict] else (first, second)
    found.never = [*first.never, *second.never]
    found.log = [*found.log, {"the other run": other.measured, "why": other.why}]
    found.seconds = first.seconds + second.seconds
    return found


class Suite:
    """One run."""

    def __init__(self, given: argparse.Namespace, todo: list[Check]) -> None:
        """`todo` in order."""
        self._given, self._todo = given, todo
        self.findings: Findings = {}
        self._adapter = Adapter.load(given.adapter)
        self._shared: dict[str, Any] = {"minutes": given.minutes if given.command == "soak" else 0}

    async def run(self) -> None:
        """Start everything, run the checks, stop everything.

        Raises:
            Unstartable: the gateway did not come up.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
            control, _ = stack.enter_context(
                running(REPLICAS, profile="fast", seed=self._given.seed, log=folder / "upstream.txt")
            )
            config = self._adapter.config(self._todo, control.ports)
            gateway = Gateway(self._adapter, folder, config, authority=control.ports.get("authority", ""))
            await gateway.start()
            stack.callback(gateway.stop)
            for stage in STAGES:
                await self._stage([one for one in self._todo if one.stage == stage], gateway, control)

    async def _stage(self, todo: list[Check], gateway: Gateway, control: Control) -> None:
        """Checks that mostly wait run beside the others."""

        async def one(check: Check) -> None:
            full = self._given.profile == "full"
            bench = Bench(gateway, control, self._adapter, check, self._given.seed, full, shared=self._shared)
            found = await finding_of(bench)
            if check.timed and found.verdict in {FAIL, SAFE}:
                found = better(found, await finding_of(replace(bench, run=1)))
            self._note(check, found)

        beside = [asyncio.create_task(one(check)) for check in todo if check.beside]
        if beside:
            await asyncio.sleep(SETTLE)
        for check in todo:
            if not check.beside:
                await one(check)
        await asyncio.gather(*beside)

    def _note(self, check: Check, found: Finding) -> None:
        self.findings[check.id] = (check, found)
        mark = " NEVER-EVENT" if found.never else ""
        why = f" — {found.why[:160]}" if found.why else ""
        line = f"[{len(self.findings):3}/{len(self._todo)}] {check.id:16} {found.verdict:4} {found.measured}{why}{mark} ({found.seconds:.1f} s)"
        say(line, self._given)


def main() -> None:
    """Run what was asked for."""
    given = options()
    todo = chosen(given)
    if given.list:
        for one in todo:
            print(f"{one.stage}  {one.id:18} {one.says}")
        return
    if not todo:
        sys.exit(f"there is no such check; rows are {sorted(PROMISES)}")
    began = time.monotonic()
    say(
        f"{len(todo)} checks of {len({one.row for one in todo})} promises, profile {given.profile}, seed {given.seed}",
        given,
    )
    try:
        suite = Suite(given, todo)
        run(_tidily(suite.run()))
    except asyncio.CancelledError:
        print("ended by a signal", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except (Unstartable, OSError, RuntimeError) as fault:
        print(f"the suite cannot run: {fault}", file=sys.stderr)
        sys.exit(2)
    about = {
        "gateway": suite._adapter.name,
        "profile": given.profile,
        "seed": given.seed,
        "seconds": time.monotonic() - began,
        "cores": os.cpu_count(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }
    everything = len(todo) == len(CHECKS)
    target = given.scorecard or (SCORECARD if everything and given.adapter == "fwsdk" else None)
    if target is not None:
        score.write(suite.findings, about, target)
    if given.json:
        print(score.as_json(suite.findings, about), end="")
    else:
        events = score.never(suite.findings)
        print("\n".join(f"never-event: {event}" for event in events), end="\n" if events else "")
        print(score.last_line(suite.findings))
    sys.exit(1 if score.never(suite.findings) else 0)


async def _tidily(work: Coroutine[None, None, None]) -> None:
    """Do it, or be told to end (SIGTERM): what was started is ended then too."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


assert _checks.__all__, "the checks are imported for their entries in the table"

if __name__ == "__main__":
    main()
