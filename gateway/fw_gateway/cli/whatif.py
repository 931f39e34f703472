"""Planning without a gateway: the world as the config and the statistics on disk describe it, and policies with a line changed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fw_gateway.cli import output
from fw_gateway.config import Config
from fw_gateway.config.policies import DEFAULT, check_policies
from fw_gateway.config.problems import Problems, near
from fw_gateway.ledger import LedgerError, explained, open_ledger
from fw_gateway.ledger.sqlite import FILE, SqliteLedger
from fw_gateway.state import Worlds
from fw_policies import spec
from fw_policies.estimate import Statistics
from fw_policies.model import Facts, Plan, World
from fw_policies.spec import Policy, PolicyError


def world(config: Config) -> World:
    """Everything but the request, with what was learnt so far if the state directory has it."""
    saved = _saved(config)
    return Worlds(config, Statistics.from_dict(saved), saved.get("drift")).world


def _saved(config: Config) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = _asked(config, lambda ledger: ledger.load_statistics())
    return found or {}


def trust(config: Config, plan: Plan) -> Mapping[str, Any] | None:
    """How earlier plans of the step turned out, if the state directory knows."""
    found: Mapping[str, Any] | None = _asked(config, lambda ledger: explained.trust(ledger, plan))
    return found


def covered(config: Config, plan: Plan) -> Plan:
    """The plan with what its certificate covers, if the state directory knows."""
    found: Plan | None = _asked(config, lambda ledger: explained.covered(ledger, plan, config.locks.get(plan.policy)))
    return plan if found is None else found


def _asked(config: Config, question: Callable[[SqliteLedger], Any]) -> Any:
    """The ledger's answer; None while there is none, or it cannot be read."""
    if not (Path(config.server.state_dir) / FILE).is_file():
        return None
    try:
        ledger = open_ledger(config)
    except LedgerError:
        return None
    try:
        return question(ledger)
    except LedgerError:
        return None
    finally:
        ledger.close()


def pin(facts: Facts, model: str) -> Facts:
    """The facts of a call that names a model."""
    return facts._replace(agent="", step="*", model=model)


def choose(config: Config, agent: str, policy: str | None) -> Policy:
    """The policy that a call of `agent` gets: named, else the config's for it, else of its name, else `default`.

    Raises:
        Fail: a policy was named that is not there.
    """
    if policy is not None and policy not in config.policies:
        raise output.Fail(f"there is no policy `{policy}`.", near(policy, config.policies), code=output.USAGE)
    for name in (policy, config.agents.get(agent), agent, DEFAULT):
        if name is not None and name in config.policies:
            return config.policies[name]
    hint = near(agent, [*config.agents, *config.policies])
    raise output.Fail(f"no policy serves agent `{agent}`.", hint, code=output.USAGE)


def change(policy: Policy, step: str, lines: Sequence[str], config: Config) -> Policy:
    """`policy` with `lines` required at `step`, each in place of the line for the same measure.

    Raises:
        Fail: a line is not in the language, or cannot be held against the models.
    """
    document: dict[str, Any] = dict(policy.canonical)
    steps = dict(document.get("steps") or {})
    entry = dict(steps.get(step) or {})
    kept = [line for line in entry.get("require") or () if _measure(line) not in {_measure(new) for new in lines}]
    entry["require"] = [*kept, *lines]
    steps[step] = entry
    document["steps"] = steps
    problems = Problems()
    try:
        changed = spec.parse(document, source="--set")
    except PolicyError as fault:
        details = [f"  {item.path}: {item.message} {item.hint}".rstrip() for item in fault.problems]
        raise output.Fail("what --set asks for cannot be required.", code=output.USAGE, details=details) from None
    targets = tuple(endpoint.target for endpoint in config.endpoints)
    check_policies({changed.name: changed}, targets, problems, stand_in=config.server.stand_in)
    if problems.found:
        details = [f"  {problem}" for problem in problems.found]
        raise output.Fail("what --set asks for cannot be required.", code=output.USAGE, details=details)
    return changed


def _measure(line: str) -> str:
    words = line.split()
    return (
        words[1]
        if words and words[0].startswith("p") and words[0][1:].isdigit() and len(words) > 1
        else (words or [""])[0]
    )


def candidates(mapping: Mapping[str, Any]) -> list[list[str]]:
    """Every candidate of an explained plan: who, why not, in words."""
    return [
        [str(item.get("deployment", "")), str(item.get("excluded") or "may serve"), str(item.get("why", ""))]
        for item in mapping.get("candidates", ())
    ]
