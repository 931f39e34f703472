"""`python -m tests.faults.upstream`: run it, and print its ports as one line of JSON."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.upstream.modes import AT_PORT, MODES, NOT_HERE
from tests.faults.upstream.play import PROFILES
from tests.faults.upstream.server import Upstream

EXAMPLES = """examples:
  python -m tests.faults.upstream --ports 3 --profile fast      ports as one line of JSON, then serve until SIGTERM
  python -m tests.faults.upstream --list                        every mode, in a line

  curl -d '{"model":"fx-cut_rst:31","stream":true,"messages":[]}' http://127.0.0.1:PORT/v1/chat/completions
  curl -d '{"ports":{"1":"slow:10"}}' http://127.0.0.1:CONTROL/__script
  curl 'http://127.0.0.1:CONTROL/__log?nonce=nonce-00ff00'

A mode stands in the model's name: fx-<mode>[:arg][@port-set]; replicas outside the set answer well.
"""


def listed() -> str:
    """Every mode, for people."""
    lines = [f"{mode.family:10} {mode.name:22} {mode.ends:7} {mode.says}" for mode in MODES.values()]
    lines += [f"{'at a port':10} {name:22} {'':7} {words}" for name, words in AT_PORT.items()]
    lines += [f"{'not here':10} {name:22} {'':7} {words}" for name, words in NOT_HERE.items()]
    return "\n".join(lines)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT, or with --until-eof until standard input ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_eof:
        loop.add_reader(sys.stdin, lambda: sys.stdin.buffer.read1(4096) or stop.set())
    with tempfile.TemporaryDirectory(prefix="fx-") as folder:
        upstream = Upstream(options.ports, profile=options.profile, seed=options.seed, folder=Path(folder))
        print(json.dumps(await upstream.start()), flush=True)
        await stop.wait()
        await upstream.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.upstream",
        description="An upstream that misbehaves as it is told.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ports", type=int, default=3, metavar="N", help="replicas in plain text (default 3)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="fast", help="how long waits are (default fast)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default 1)")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    parser.add_argument("--list", action="store_true", help="print the modes and end")
    options = parser.parse_args()
    if options.list:
        print(listed())
        return
    try:
        from uvloop import run  # noqa: PLC0415 - quicker where it is there
    except ImportError:
        from asyncio import run  # noqa: PLC0415
    run(serve(options))


if __name__ == "__main__":
    main()
