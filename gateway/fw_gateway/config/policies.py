"""The `policies` and `agents` sections: names of built-in policies and paths of files, parsed and checked by fw_policies."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

from fw_gateway.config import reader
from fw_gateway.config.document import NotYaml, parse_all
from fw_gateway.config.problems import Path, Problem, Problems, near
from fw_policies import spec
from fw_policies.model import Target
from fw_policies.spec import Policy, PolicyError

DEFAULT = "default"
"""The policy of an agent that names none, and has none of its name."""


def builtin_names() -> tuple[str, ...]:
    """Names of the policies that come with the package, sorted."""
    folder = resources.files("fw_policies").joinpath("builtin")
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def builtin_text(name: str) -> str:
    """The YAML of one built-in policy."""
    return resources.files("fw_policies").joinpath(f"builtin/{name}.yaml").read_text(encoding="utf-8")


def parse_text(text: str, source: str, problems: Problems) -> list[Policy]:
    """Every policy of a YAML text; what is wrong with it goes to `problems`, under the file's own lines."""
    try:
        documents = parse_all(text, source)
    except NotYaml as fault:
        problems.found.append(fault.problem)
        return []
    policies = []
    for value, lines in documents:
        if not isinstance(value, Mapping):
            problems.found.append(Problem(source, f"a policy must be a mapping, not {reader.kind(value)}."))
            continue
        try:
            policies.append(spec.parse(value, source=source))
        except PolicyError as fault:
            for item in fault.problems:
                path = str(item.path)
                place = f"{source}: {path}" if path else source
                problems.found.append(Problem(place, item.message, item.hint, _line(path, lines)))
    return policies


def _line(path: str, lines: Mapping[Path, int]) -> int | None:
    """The line of a dotted path, or of the nearest part of it that has one."""
    pieces = path.replace("[", ".").replace("]", "").split(".")
    parts: list[str | int] = [int(piece) if piece.isdigit() else piece for piece in pieces]
    while parts:
        if tuple(parts) in lines:
            return lines[tuple(parts)]
        parts.pop()
    return None


def read_policies(value: Any, base: FilePath, problems: Problems) -> dict[str, Policy]:
    """The policies a config names, by their own names. Absent: none are read."""
    if value is None:
        return {}
    if not isinstance(value, list):
        problems.add(("policies",), f"must be a list of names and files, not {reader.kind(value)}.")
        return {}
    policies: dict[str, Policy] = {}
    for index, item in enumerate(value):
        path: Path = ("policies", index)
        for policy in _read_one(item, path, base, problems):
            if policy.name in policies:
                problems.add(
                    path, f"there is already a policy called `{policy.name}`.", "Give it another `policy:` name."
                )
            policies[policy.name] = policy
    return policies


def _read_one(item: Any, path: Path, base: FilePath, problems: Problems) -> list[Policy]:
    if not isinstance(item, str):
        problems.add(path, f"must be the name of a built-in policy or a file, not {reader.kind(item)}.")
        return []
    if item in builtin_names():
        return parse_text(builtin_text(item), f"built-in policy {item}", problems)
    if not item.endswith((".yaml", ".yml")):
        hint = f"{near(item, builtin_names())} A file's name ends in .yaml."
        problems.add(path, f"there is no built-in policy `{item}`.", hint.strip())
        return []
    try:
        text = (base / item).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not text"
        problems.add(path, f"`{item}` cannot be read: {reason}.", f"Looked in {base.resolve()}.")
        return []
    return parse_text(text, item, problems)


def fallback_policy(baseline: str) -> Policy:
    """What `default` means when nobody wrote it: the baseline serves. Nobody said what quality is, so nothing else can be proven."""
    return spec.parse({"policy": DEFAULT, "baseline": baseline, "default": {"use": "baseline"}}, source="default")


def check_policies(
    policies: Mapping[str, Policy], targets: tuple[Target, ...], problems: Problems, *, stand_in: str | None
) -> None:
    """Hold every policy against the models that there are. A baseline that is no model is borne only where a stand-in serves for it."""
    by_model: dict[str, list[Target]] = {}
    for target in targets:
        by_model.setdefault(target.model, []).append(target)
    tags = frozenset(tag for target in targets for tag in target.tags)
    for policy in policies.values():
        for item in spec.check(policy, models=by_model, tags=tags):
            place = f"policy {policy.name}: {item.path}" if item.path else f"policy {policy.name}"
            if item.severity == "error" or (item.path == "baseline" and stand_in is None):
                problems.found.append(Problem(place, item.message, item.hint))
            else:
                problems.warnings.append(f"{place}: {item.message} {item.hint}".strip())


def read_agents(value: Any, policies: Mapping[str, Policy], problems: Problems) -> dict[str, str]:
    """Agent name -> policy name."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problems.add(("agents",), f"must be a mapping of agents to policies, not {reader.kind(value)}.")
        return {}
    agents = {}
    for agent, policy in value.items():
        if not isinstance(policy, str) or policy not in policies:
            problems.add(("agents", str(agent)), f"there is no policy `{policy}`.", near(str(policy), policies))
            continue
        agents[str(agent)] = policy
    return agents
