"""How commands speak: tables for people, JSON for machines, one clear message when something is wrong."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from fw_gateway.config import ConfigError

FAILED = 1
USAGE = 2


class Fail(Exception):
    """A command cannot go on. Printed as one message; `code` is the exit code."""

    def __init__(self, message: str, hint: str = "", *, code: int = FAILED, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.details = tuple(details)


def console() -> Console:
    """Standard output: colours only on a terminal and without NO_COLOR, lines never broken when it is not a terminal."""
    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if not sys.stdout.isatty():
        out.width = 200
    return out


def line(text: str = "") -> None:
    """One line of plain text, whatever is in it."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """One line for people on standard error, so that standard output stays clean."""
    sys.stderr.write(f"{text}\n")


def emit(value: Any) -> None:
    """JSON on standard output."""
    line(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without frames."""
    out = console()
    shape = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        shape.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        shape.add_row(*(_plain(cell) for cell in row))
    out.print(shape)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def config_failed(fault: ConfigError) -> NoReturn:
    """A config that cannot be used, as one message.

    Raises:
        Fail: always.
    """
    details = [f"  {problem}" for problem in fault.problems]
    count = len(details)
    raise Fail(f"{fault.source}: {count} problem{'s' if count != 1 else ''}", code=USAGE, details=details) from None


def report(fault: Fail, *, as_json: bool) -> int:
    """Print a failure; its exit code."""
    if as_json:
        emit(
            {
                "error": {
                    "message": fault.message,
                    "hint": fault.hint,
                    "details": [text.strip() for text in fault.details],
                }
            }
        )
    else:
        note("\n".join([f"fw: {fault.message}", *fault.details, *([fault.hint] if fault.hint else [])]))
    return fault.code
