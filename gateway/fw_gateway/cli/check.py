"""`fw config check` and `fw version`."""

from importlib.metadata import version as installed

import typer

from fw_gateway.catalog.models import price_version
from fw_gateway.cli import output
from fw_gateway.cli.options import ConfigFile, Json, read_config

group = typer.Typer(help="The config file.", no_args_is_help=True)


@group.callback()
def _config() -> None:
    """The config file."""


@group.command("check", epilog="Example: fw config check -c fw.yaml")
def check(config: ConfigFile = None, as_json: Json = False) -> None:
    """Read a config and its policies, and say everything that is wrong with them."""
    found = read_config(config)
    report = {
        "config": found.source or "built-in config",
        "digest": found.digest,
        "models": sorted({endpoint.target.model for endpoint in found.endpoints}),
        "deployments": [endpoint.target.deployment for endpoint in found.endpoints],
        "blocked": dict(found.blocked),
        "policies": sorted(found.policies),
        "agents": dict(found.agents),
        "prices": found.prices,
        "warnings": list(found.warnings),
        "assumptions": list(found.assumptions),
    }
    if as_json:
        output.emit(report)
        return
    models, deployments = len(report["models"]), len(report["deployments"])
    output.line(f"{report['config']} is good ({found.digest}): {models} models, {deployments} deployments.")
    output.line(f"policies  {', '.join(report['policies'])}")
    for label, texts in (("warning", found.warnings), ("assumed", found.assumptions)):
        for text in texts:
            output.line(f"{label}   {text}")


def version(as_json: Json = False) -> None:
    """The version of fw, and of its price table."""
    report = {"fw": installed("fwsdk"), "prices": price_version()}
    if as_json:
        output.emit(report)
    else:
        output.line(f"fw {report['fw']}, prices {report['prices']}")
