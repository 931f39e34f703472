"""`fw trace show`: one trace of the trace file as a tree on a time line."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fw_gateway.cli import output
from fw_gateway.cli.options import ConfigFile, Json, read_config
from fw_gateway.telemetry import reader, tree

group = typer.Typer(help="Traces: what happened, span by span.", no_args_is_help=True)

_WIDTH = 140


@group.callback()
def _trace() -> None:
    """Traces: what happened, span by span."""


@group.command("show", epilog="Examples: fw trace show; fw trace show 4bf92f35; fw trace show last --file traces.jsonl")
def show(
    wanted: Annotated[
        str, typer.Argument(metavar="[ID|last]", help="Start of a trace id, or a run or decision id.")
    ] = "last",
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Trace file; else FW_TRACES_FILE or the config's.")
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """One trace as a tree: who called whom, how long it took, what it cost."""
    path = file or read_config(config).telemetry.traces_file
    if path is None:
        raise output.Fail(
            "no traces are written.", "Set FW_TRACES_FILE, or `telemetry: {traces_file: …}`.", code=output.USAGE
        )
    try:
        traces = reader.trees(reader.read(path))
    except OSError as fault:
        hint = "Name the file with --file, or the gateway's config with -c; `fw up` prints where it writes."
        raise output.Fail(f"{path} cannot be read: {fault.strerror or fault}.", hint) from None
    found = reader.find(traces, wanted)
    if found is None:
        hint = (
            "Spans appear a moment after their call ends."
            if not traces
            else f"It holds {len(traces)} traces; `last` is the newest."
        )
        raise output.Fail(f"there is no trace `{wanted}` in {path}.", hint)
    if as_json:
        output.emit({"trace_id": found.trace_id, "roots": [asdict(root) for root in found.roots]})
        return
    output.line(tree.text(found, width=_width()).rstrip())


def _width() -> int:
    """Columns to fill: the terminal's, or a readable many without one."""
    return max(80, shutil.get_terminal_size((_WIDTH, 24)).columns)
