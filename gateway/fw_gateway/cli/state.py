"""`fw state merge`: what several gateways learnt, added up, for one that begins with all of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fw_gateway.cli import output
from fw_gateway.cli.options import Json
from fw_gateway.ledger import LedgerError, SqliteLedger
from fw_gateway.ledger.sqlite import FILE
from fw_policies.estimate import Statistics

group = typer.Typer(help="What gateways have learnt.", no_args_is_help=True)


@group.callback()
def _state() -> None:
    """What gateways have learnt."""


@group.command("merge", epilog="Example: fw state merge all/.fw one/.fw two/.fw")
def merge(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="State directory that gets the sum; it has learnt nothing yet.")
    ],
    sources: Annotated[list[Path], typer.Argument(metavar="IN...", help="State directories of gateways.")],
    as_json: Json = False,
) -> None:
    """Add up the statistics of several gateways. Calls and outcomes stay where they are; certificates that one found void stay void."""
    total = Statistics()
    void: dict[str, Any] = {}
    for place in dict.fromkeys(sources):
        found = _learnt(place)
        if found is None:
            raise output.Fail(f"{place} holds nothing that a gateway has learnt.", code=output.USAGE)
        total.merge(Statistics.from_dict(found))
        void |= found.get("drift", {}).get("void", {})
    if _learnt(out) is not None:
        hint = "Name a new folder: what is there would be counted again with each merge."
        raise output.Fail(f"{out} has learnt something already.", hint, code=output.USAGE)
    ledger = _open(out)
    try:
        ledger.save_statistics({**total.to_dict(), "drift": {"void": void}})
    finally:
        ledger.close()
    steps = len(total.steps())
    if as_json:
        output.emit({"out": str(out), "merged": len(dict.fromkeys(sources)), "steps": steps, "void": len(void)})
    else:
        output.line(
            f"{out}: what {len(dict.fromkeys(sources))} gateways learnt of {steps} steps; start one with FW_STATE_DIR={out}"
        )


def _learnt(place: Path) -> Mapping[str, Any] | None:
    """The newest snapshot of a state directory; None: there is none."""
    if not (place / FILE).is_file():
        return None
    ledger = _open(place)
    try:
        return ledger.load_statistics()
    finally:
        ledger.close()


def _open(place: Path) -> SqliteLedger:
    try:
        return SqliteLedger(place / FILE)
    except LedgerError as fault:
        raise output.Fail(str(fault)) from None
