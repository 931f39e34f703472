"""Options that several commands share, and reading the config for them."""

from typing import Annotated

import typer

from fw_gateway.cli import output
from fw_gateway.config import Config, ConfigError, load

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", "-c", metavar="FILE", help="Config file; without it, the built-in config."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def read_config(path: str | None) -> Config:
    """The config, or the command ends with what is wrong with it.

    Raises:
        Fail: it cannot be used.
    """
    try:
        return load(path)
    except ConfigError as fault:
        output.config_failed(fault)
