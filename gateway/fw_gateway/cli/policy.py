"""`fw policy list | show | check`: what the policies say, and what is wrong with one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fw_gateway.cli import learning, locking, output
from fw_gateway.cli.options import ConfigFile, Json, read_config
from fw_gateway.config.policies import builtin_names, check_policies, parse_text
from fw_gateway.config.problems import Problem, Problems, near
from fw_policies import spec

group = typer.Typer(help="Policies: what each step of an agent needs.", no_args_is_help=True)


@group.callback()
def _policy() -> None:
    """Policies: what each step of an agent needs."""


@group.command("list", epilog="Example: fw policy list -c fw.yaml")
def list_(config: ConfigFile = None, as_json: Json = False) -> None:
    """The policies of the config: baseline, objective, steps."""
    found = read_config(config)
    builtin = builtin_names()
    rows: list[dict[str, Any]] = [
        {
            "policy": name,
            "version": policy.digest,
            "baseline": policy.baseline,
            "steps": list(policy.steps),
            "agents": [agent for agent, chosen in found.agents.items() if chosen == name],
            "builtin": name in builtin,
        }
        for name, policy in found.policies.items()
    ]
    if as_json:
        output.emit({"policies": rows})
        return
    output.table(
        ["policy", "version", "baseline", "steps", "agents"],
        [
            [
                str(row["policy"]),
                str(row["version"]),
                str(row["baseline"]),
                ", ".join(row["steps"]) or "*",
                ", ".join(row["agents"]),
            ]
            for row in rows
        ],
    )


@group.command("show", epilog="Example: fw policy show coding")
def show(
    name: Annotated[str, typer.Argument(help="A policy of the config, or a built-in one.")],
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """What results for every step, after defaults and layers."""
    found = read_config(config)
    if name not in found.policies:
        raise output.Fail(f"there is no policy `{name}`.", near(name, found.policies), code=output.USAGE)
    text = spec.show(found.policies[name])
    if as_json:
        output.emit({"policy": name, "version": found.policies[name].digest, "text": text})
    else:
        output.line(text.rstrip())


@group.command("check", epilog="Example: fw policy check policies/coding.yaml -c fw.yaml")
def check(
    file: Annotated[Path, typer.Argument(help="A policy file.")],
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Parse a policy file and hold it against the config's models. Exit code 2 when it would be refused."""
    found = read_config(config)
    problems = Problems()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not text"
        raise output.Fail(f"{file} cannot be read: {reason}.", code=output.USAGE) from None
    policies = parse_text(text, str(file), problems)
    if not problems.found:
        targets = tuple(endpoint.target for endpoint in found.endpoints)
        check_policies({policy.name: policy for policy in policies}, targets, problems, stand_in=found.server.stand_in)
    if problems.found:
        _refuse(file, problems.found)
    if as_json:
        output.emit(
            {"file": str(file), "policies": [policy.name for policy in policies], "warnings": problems.warnings}
        )
        return
    output.line(f"{file} is good: {', '.join(f'{policy.name} ({policy.digest})' for policy in policies)}")
    for text in problems.warnings:
        output.line(f"warning   {text}")


def _refuse(file: Path, problems: list[Problem]) -> None:
    count = len(problems)
    details = [f"  {problem}" for problem in problems]
    raise output.Fail(f"{file}: {count} problem{'s' if count != 1 else ''}", code=output.USAGE, details=details)


learning.register(group)
locking.register(group)
