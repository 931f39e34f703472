"""What `import fwsdk` costs over importing its own three dependencies: the ratio of medians over fresh interpreters.

usage: import_time.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys
import time

DEPENDENCIES = "import aiohttp, pydantic, opentelemetry.trace"
BUDGET = 1.5


def seconds(statement: str) -> float:
    """Wall seconds of a fresh interpreter that runs `statement`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Interleave the two, so that drift of the machine hits both alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"pass": [], DEPENDENCIES: [], "import fwsdk": []}
    for statement in times:
        seconds(statement)
    for _ in range(rounds):
        for statement, found in times.items():
            found.append(seconds(statement))
    empty, base, ours = (statistics.median(found) for found in times.values())
    ratio = (ours - empty) / (base - empty)
    print(
        f"empty {empty * 1e3:.0f} ms, dependencies +{(base - empty) * 1e3:.0f} ms, fwsdk +{(ours - empty) * 1e3:.0f} ms"
    )
    print(f"import fwsdk costs {ratio:.2f}× its dependencies (budget {BUDGET}×)")
    sys.exit(ratio > BUDGET)


if __name__ == "__main__":
    main()
