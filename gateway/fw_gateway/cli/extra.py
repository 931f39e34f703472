"""Commands that other packages bring (entry-point group `fw.commands`): loaded only when one of them is run."""

from importlib.metadata import EntryPoint

import typer

from fw_gateway.cli import PIP_LINE
from fw_gateway.cli.output import Fail


def add(app: typer.Typer, entry: EntryPoint) -> None:
    """Put `entry` in the tree under its name, unloaded."""

    @app.command(
        entry.name,
        help=f"From {entry.value.partition('.')[0]}; `fw {entry.name} --help` says more.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def command(context: typer.Context) -> None:
        call(entry, context.args)


def call(entry: EntryPoint, argv: list[str]) -> None:
    """Load the command and run it with the rest of the line. Leaves by SystemExit, as every command does.

    Raises:
        Fail: what it needs is not installed.
    """
    try:
        loaded = entry.load()
    except ImportError as fault:
        absent = isinstance(fault, ModuleNotFoundError)
        reason = f"{fault.name or entry.value} is not installed" if absent else str(fault)
        raise Fail(f"`fw {entry.name}` cannot run: {reason}.", f"Run: {PIP_LINE}") from None
    inner = loaded
    if not isinstance(inner, typer.Typer):
        inner = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        inner.command(entry.name)(loaded)
    inner(args=argv, prog_name=f"fw {entry.name}")
