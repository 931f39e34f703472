"""`fw bench route`: the optimizer, or another router, against public outcomes."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from fw_gateway.cli import output
from fw_gateway.cli.options import Json

group = typer.Typer(help="Benches on data that nobody here made.", no_args_is_help=True)
EXAMPLES = (
    "Examples: fw bench route --data outcomes/ --out verdict/; fw bench route --data outcomes/ --quick --json; "
    "fw bench route --data outcomes/ --router examples/routers.py:naive_lp. Exit codes: 0 all met, 1 a gate missed or a set broken, "
    "2 no sets or no such router. More: docs/promise-bench.md."
)


@group.callback()
def _bench() -> None:
    """Benches on data that nobody here made."""


@group.command("route", epilog=EXAMPLES)
def route(
    *,
    data: Annotated[
        Path,
        typer.Option(
            help="A folder of NAME.outcomes.parquet (query_id, model, score, benchmark, cost_usd, latency_s, …)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where gates.json and the pictures go; it is made.")] = Path("verdict"),
    router: Annotated[str, typer.Option(help="ours, by_step, nearest, MODULE:FUNCTION or FILE.py:FUNCTION.")] = "ours",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, eight splits, forty logs: to see that it runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge the optimizer, or another router, on every set of a folder: broken promises first."""
    try:
        from fw_gateway.bench import run  # noqa: PLC0415 - numpy and more, for this command alone
        from fw_gateway.bench.data import Unusable  # noqa: PLC0415 - as above
    except ImportError as fault:
        raise output.Fail(
            f"the bench needs what is not here: {fault.name}.", "pip install 'fwsdk[gateway,bench]'"
        ) from fault
    effort = run.Effort(seed, 8, 1, 40) if quick else run.Effort(seed)
    try:
        verdict = run.bench(data, route=router, effort=effort, say=output.note)
    except Unusable as fault:
        raise output.Fail(str(fault), code=output.USAGE) from fault
    files = run.write(verdict, out)
    missed = [gate for gate in verdict.gates if gate.passed is False]
    if as_json:
        output.emit(
            {
                "gates": [gate.plain() for gate in verdict.gates],
                "skipped": verdict.skipped,
                "files": list(map(str, files)),
            }
        )
    else:
        _table(verdict, files)
    if missed:
        raise typer.Exit(output.FAILED)


def _table(verdict: Any, files: list[Path]) -> None:
    rows = [
        [
            {True: "met", False: "MISSED", None: "–"}[gate.passed],
            gate.gate,
            gate.data,
            _figure(gate.ours, gate.unit)
            + (f" [{_figure(gate.low, gate.unit)}, {_figure(gate.high, gate.unit)}]" if gate.low is not None else ""),
            _figure(gate.anchor, gate.unit),
            _figure(gate.target, gate.unit),
        ]
        for gate in sorted(verdict.gates, key=lambda gate: not gate.gate.startswith("promises broken"))
    ]
    output.table(["", "gate", "data", "ours", "anchor", "target"], rows)
    for gate in verdict.gates:
        if gate.passed is False and gate.data not in verdict.skipped:
            output.line(f"missed   {gate.gate}, {gate.data}: {gate.note}")
    for name, why in verdict.skipped.items():
        output.line(f"skipped  {name}: {why}")
    for path in files:
        output.line(f"written  {path}")
    passed = [gate.passed for gate in verdict.gates]
    output.line(f"{passed.count(True)} gates met, {passed.count(False)} missed, {passed.count(None)} not judged")


def _figure(value: float | None, unit: str) -> str:
    if value is None or math.isnan(value):
        return "–"
    if unit == "share":
        return f"{value:.1%}"
    return f"${value:.3g}" if unit == "USD" else f"{value:.4g}"
