"""`fw explain`: the plan for a step before anything is sent, and what became of a run or a decision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fw_gateway.catalog.models import CAPABILITIES
from fw_gateway.cli import output, remote, whatif
from fw_gateway.cli.options import ConfigFile, Json, read_config
from fw_gateway.config import Config
from fw_gateway.config.problems import near
from fw_gateway.ledger import explained, open_ledger
from fw_gateway.ledger.sqlite import FILE, SqliteLedger
from fw_policies import explain as texts
from fw_policies.estimate import quantise
from fw_policies.model import Facts
from fw_policies.optimize import optimize, pinned

EXAMPLES = (
    "Examples: fw explain coding/edit; fw explain coding/edit --set 'quality >= 94% of baseline'; "
    "fw explain coding/test_fix --fact attempt=3; fw explain run last"
)
FACTS = ("attempt", "hour", "input_tokens", "max_output_tokens", "needs", "label.NAME")
"""What `--fact` can say of a request; the words of a policy's `when`."""


def explain(
    *,
    what: Annotated[str, typer.Argument(metavar="AGENT/STEP|MODEL|run|decision")],
    identifier: Annotated[
        str, typer.Argument(metavar="[ID]", help="Of the run or decision; `last`: the newest run.")
    ] = "",
    policy: Annotated[str | None, typer.Option("--policy", help="Ask this policy instead of the agent's own.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="LINE", help="What if this were required; repeatable.")
    ] = None,
    fact: Annotated[
        list[str] | None,
        typer.Option("--fact", metavar="NAME=VALUE", help=f"Of the request: {', '.join(FACTS)}; repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every candidate and why it was left out.")] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """What will be done for a step and why, or what was done."""
    if what in ("run", "decision"):
        _past(what, identifier, config, as_json=as_json)
        return
    if identifier:
        hint = "Write `fw explain AGENT/STEP`, `fw explain run ID` or `fw explain decision ID`."
        raise output.Fail(f"cannot explain `{what} {identifier}`.", hint, code=output.USAGE)
    found = read_config(config)
    agent, _, step = what.partition("/")
    facts = _facts(Facts(agent=agent, step=step or "*"), fact or ())
    mapping = _planned(found, what, facts, policy, tuple(changes or ()))
    if as_json:
        output.emit(mapping)
        return
    output.line(texts.text(mapping).rstrip())
    if everything:
        output.line()
        output.table(["candidate", "excluded", "why"], whatif.candidates(mapping))


def _facts(facts: Facts, said: Sequence[str]) -> Facts:
    """`facts` with what `--fact` says."""
    labels: list[tuple[str, str]] = []
    numbers: dict[str, Any] = {}
    for text in said:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise output.Fail(f"`{text}` says nothing.", "Write --fact attempt=3.", code=output.USAGE)
        if name.startswith("label."):
            labels.append((name.removeprefix("label."), value))
        elif name == "needs":
            facts = facts._replace(needs=facts.needs | {_need(item.strip()) for item in value.split(",")})
        elif name not in FACTS:
            raise output.Fail(f"there is no fact `{name}`.", near(name, FACTS), code=output.USAGE)
        elif not value.isdigit():
            raise output.Fail(f"`{name}` must be a whole number, not `{value}`.", code=output.USAGE)
        else:
            number = quantise(int(value)) if name == "input_tokens" else int(value)
            numbers[name] = number
    return facts._replace(labels=tuple(sorted(labels)), **numbers)


def _need(text: str) -> str:
    if text not in CAPABILITIES:
        raise output.Fail(f"there is no capability `{text}`.", near(text, CAPABILITIES), code=output.USAGE)
    return text


def _planned(found: Config, what: str, facts: Facts, policy: str | None, changes: tuple[str, ...]) -> dict[str, Any]:  # noqa: PLR0917
    world = whatif.world(found)
    if policy is None and any(endpoint.target.model == what for endpoint in found.endpoints):
        if changes:
            raise output.Fail(f"`{what}` is a model: a pinned call has no requirements to change.", code=output.USAGE)
        return dict(texts.mapping(pinned(whatif.pin(facts, what), world), decision_id=""))
    chosen = whatif.choose(found, facts.agent, policy)
    if changes:
        chosen = whatif.change(chosen, facts.step, changes, found)
    plan = whatif.covered(found, optimize(chosen, facts, world))
    return dict(texts.mapping(plan, decision_id="", trust=whatif.trust(found, plan)))


def _past(what: str, identifier: str, config: str | None, *, as_json: bool) -> None:
    """A run or a decision, from a running gateway or, without one, from the state directory."""
    if not identifier:
        hint = "Write `fw explain run last`." if what == "run" else "The id is in the answer's header x-fw-decision-id."
        raise output.Fail(f"which {what}?", hint, code=output.USAGE)
    text, mapping = _from_ledger(what, identifier, config)
    if not mapping:
        text, mapping = _from_gateway(what, identifier)
    if as_json:
        output.emit(mapping)
    else:
        output.line(text.rstrip())


def _from_ledger(what: str, identifier: str, config: str | None) -> tuple[str, dict[str, Any]]:
    found = read_config(config)
    if not (Path(found.server.state_dir) / FILE).is_file():
        return "", {}
    ledger: SqliteLedger = open_ledger(found)
    try:
        if what == "decision":
            decision = ledger.decision(identifier)
            if decision is None:
                return "", {}
            mapping = explained.decision(decision, explained.trust(ledger, decision.plan))
            return texts.text(mapping), mapping
        run_id = ledger.latest_run() or "" if identifier == "last" else identifier
        decisions = ledger.run(run_id)
        mapping = explained.run(run_id, decisions) if decisions else {}
        return (texts.run_text(mapping), mapping) if mapping else ("", {})
    finally:
        ledger.close()


def _from_gateway(what: str, identifier: str) -> tuple[str, dict[str, Any]]:
    try:
        status, body = remote.get(f"/v1/{what}s/{identifier}")
    except remote.Absent as absent:
        hint = "Start `fw up`, set FW_URL, or name the gateway's config with -c so that its state folder is found."
        raise output.Fail(f"there is no {what} `{identifier}` in the state folder, and {absent}.", hint) from None
    if status != 200 or what not in body:
        reason = str(body.get("error", {}).get("message", "")) or f"the gateway answered {status}"
        raise output.Fail(f"there is no {what} `{identifier}`: {reason}")
    return str(body.get("text", "")), dict(body[what])
