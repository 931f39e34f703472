"""`fw audit`: what an export of calls cost, what could be proven to be saved, and what could not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fw_gateway.cli import output
from fw_gateway.cli.options import Json

if TYPE_CHECKING:
    from fw_gateway.audit.collect import Collector
    from fw_gateway.audit.read import Reading

EXAMPLES = (
    "Examples: fw audit spend_logs.csv; fw audit observations.jsonl.gz scores.jsonl.gz --outcome correct --policy draft.yaml; "
    "fw audit .fw/ledger.sqlite --json; fw audit --sample"
)
LARGE = 50 * 1024 * 1024
"""Bytes from which on the reading says how far it is."""


def audit(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE...",
            help="Exports of LiteLLM, Langfuse or OpenTelemetry, traces.jsonl, ledger.sqlite; .gz too.",
        ),
    ] = None,
    *,
    sample: Annotated[
        bool, typer.Option("--sample", help="On outcomes that come with fw: 31 models, 5 kinds of tasks.")
    ] = False,
    baseline: Annotated[str, typer.Option(metavar="MODEL", help="Today's model; else the one most was spent on.")] = "",
    outcome: Annotated[
        str, typer.Option(metavar="NAME", help="Which outcome is quality; else the most frequent.")
    ] = "",
    randomised: Annotated[
        bool, typer.Option("--randomised", help="Models were assigned to runs at random, as in an A/B test.")
    ] = False,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a draft policy.")] = None,
    as_json: Json = False,
) -> None:
    """What exported calls cost by step, what could be proven to be saved at which quality, and what is missing. Sends nothing."""
    if sample == bool(files):
        raise output.Fail("name the files, or say --sample.", EXAMPLES, code=output.USAGE)
    if sample and (baseline or outcome or randomised):
        raise output.Fail("--sample takes no --baseline, --outcome or --randomised.", EXAMPLES, code=output.USAGE)
    found, lines = _sample() if sample else _files(files or [], (baseline, outcome, randomised))
    if policy is not None:
        found["policy"] = _draft(policy, found, sample=sample)
    if as_json:
        output.emit(found | {"text": lines})
        return
    output.line("\n".join(lines))
    if policy is not None:
        output.line(f"\ndraft       {policy}   fw policy check {policy}")


def _sample() -> tuple[dict[str, Any], list[str]]:
    from fw_gateway.audit import sampled  # noqa: PLC0415 - numpy, only when asked

    found = sampled.report()
    return found, sampled.text(found)


def _files(files: list[Path], wanted: tuple[str, str, bool]) -> tuple[dict[str, Any], list[str]]:
    from fw_gateway.audit import collect, prices, read, report, text  # noqa: PLC0415 - numpy, only when asked

    table, reading = prices.Prices(), read.Reading()
    found = collect.Collector(table)
    for path in files:
        _read(path, found, reading)
    if not found.groups:
        raise output.Fail("there are no calls of models in there.", read.UnknownFormat.hint, details=_problems(reading))
    if wanted[1] and wanted[1] not in found.names:
        known = ", ".join(list(found.names)[:8]) or "none"
        raise output.Fail(f"there is no outcome `{wanted[1]}`.", f"In the files: {known}.", code=output.USAGE)
    made = report.build(found, table, reading, report.Wanted(*wanted))
    return made, text.report(made)


def _read(path: Path, found: "Collector", reading: "Reading") -> None:
    from fw_gateway.audit import read, stream  # noqa: PLC0415 - as above

    progress = stream.Progress()
    if sys.stderr.isatty():
        progress.listeners.append(_teller(path))
    try:
        found.add_all(read.rows(path, reading, progress))
    except read.UnknownFormat as fault:
        raise output.Fail(str(fault), fault.hint) from None
    except (OSError, EOFError) as fault:
        raise output.Fail(f"{path} cannot be read: {getattr(fault, 'strerror', None) or fault}.") from None


def _teller(path: Path) -> Callable[[int, int], None]:
    """Says each further tenth of a large file."""
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total >= LARGE else 0
        if tenth > said:
            said = tenth
            output.note(f"{path.name}: {10 * tenth}% read")

    return tell


def _problems(reading: "Reading") -> list[str]:
    return [f"  {count:,} × {kind}" for kind, count in reading.problems.most_common(5)]


def _draft(path: Path, found: dict[str, Any], *, sample: bool) -> str:
    """Write the draft; its text."""
    if sample:
        raise output.Fail("the sample has no calls to draft a policy from.", "Give a file of yours.", code=output.USAGE)
    from fw_gateway.audit import draft  # noqa: PLC0415 - as above

    made = "---\n".join(draft.policy(found, agent) for agent in found["agents"])
    try:
        path.write_text(made, encoding="utf-8")
    except OSError as fault:
        raise output.Fail(f"{path} cannot be written: {fault.strerror or fault}.") from None
    return made
