"""`fw policy compile | locks | rollback`: what is proven, written down, and taken back."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fw_gateway import clock
from fw_gateway.cli import lessons, output, whatif
from fw_gateway.cli.learning import Since, seconds_since
from fw_gateway.cli.options import ConfigFile, Json, read_config
from fw_gateway.config import Config, locks
from fw_gateway.config.problems import near
from fw_gateway.ledger import LedgerError, history
from fw_gateway.ledger.sqlite import FILE
from fw_policies.explaining.numbers import money
from fw_policies.lock import Arm, Lock, LockedStep, Unfit, to_dict

if TYPE_CHECKING:
    from fw_policies.search.space import Counts

COMPILE = (
    "Examples: fw policy compile coding; fw policy compile coding --since 30d --write; fw policy compile coding --json"
)
LOCKS = "Example: fw policy locks coding"
ROLLBACK = "Example: fw policy rollback coding 3f9c2a11d0e4"
Policy = Annotated[str, typer.Argument(help="A policy of the config.")]


def register(group: typer.Typer) -> None:
    """Put the commands into the group `fw policy`."""
    group.command("compile", epilog=COMPILE)(compile_)
    group.command("locks", epilog=LOCKS)(list_)
    group.command("rollback", epilog=ROLLBACK)(rollback)


def compile_(
    *,
    policy: Policy,
    since: Since = "30d",
    write: Annotated[
        bool, typer.Option("--write", help="Make it the lock that the gateway reads at its start.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=90, help="For which the certificates are good.")] = 14,
    seed: Annotated[int, typer.Option(help="Of the bounds' draws; the same calls and seed give the same lock.")] = 0,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Find the cheapest plan of each step that keeps its promise of quality, and prove it, on calls that were drawn at random."""
    from fw_gateway.cli import compiling, spaces  # noqa: PLC0415 - numpy and scipy, for this command alone

    found = read_config(config)
    if policy not in found.policies:
        raise output.Fail(f"there is no policy `{policy}`.", near(policy, found.policies), code=output.USAGE)
    start = seconds_since(since)
    log = compiling.Log(lessons.history(found, start), lessons.how_walked(found, start))
    how = compiling.How(clock.iso_date(start), seed, days)
    made = compiling.compiled(found, found.policies[policy], log, how)
    lock = made.lock
    counts = spaces.of_steps(found.policies[policy], log.past, whatif.world(found))
    if not lock.steps:
        raise output.Fail(f"the ledger has no call under `{policy}` in the last {since}.")
    place = locks.folder(found.source, found.server.state_dir)
    written = str(locks.write(place, lock)) if write else None
    if as_json:
        before = {step: [list(arm.models) for arm in arms] for step, arms in made.before.items()}
        plans = {step: asdict(one) for step, one in counts.items()}
        notes = {
            "plans": plans,
            "before": before,
            "told": {step: list(told) for step, told in made.told.items()},
            "notes": made.notes,
        }
        output.emit({"digest": lock.digest, "written": written, **to_dict(lock), **notes})
        return
    output.line(f"{lock.policy}   version {lock.version}   lock {lock.digest}   calls since {lock.since}")
    for name, step in sorted(lock.steps.items()):
        told = (_plans(counts[name]), *made.told.get(name, ()))
        for line in (*_step(name, step, lock, made.before[name]), *(f"    {text}" for text in told)):
            output.line(line)
    for line in (*_machines(lock), *made.notes):
        output.line(line)
    if written is not None:
        output.line(f"written  {written}; the gateway reads it when it starts")
    else:
        output.line("nothing was written; --write makes it the lock that serves")


def _plans(counts: "Counts") -> str:
    kept = f"{counts.allowed:,} allowed, {counts.known:,} of them with estimates, {counts.kept:,} worth mixing"
    return f"plans: {counts.possible:,} possible, {kept}"


def _machines(lock: Lock) -> list[str]:
    """How full each shared machine is in the busiest hour, and what an hour of one more would save."""
    lines = []
    for name, one in sorted(lock.machines.items()):
        worth = f"; full: an hour of one more would save {money(one.price)}" if one.price > 0 else "; it does not bind"
        lines.append(f"  {name}: {one.load:.3g} of {one.capacity:.4g} tokens/s in the busiest hour{worth}")
    return lines


def _shares(arms: Sequence[Arm]) -> str:
    """Arms as people read them: cascades with arrows."""
    said = []
    for arm in arms:
        effort = f" ({arm.effort})" if arm.effort else ""
        said.append(f"{arm.weight:.0%} {' → '.join(arm.models)}{effort}")
    return " + ".join(said)


def _step(name: str, step: LockedStep, lock: Lock, before: Sequence[Arm]) -> list[str]:
    certificate = step.certificate
    if certificate is None or not step.arms:
        more = f" (about {step.more} runs more of each would decide it)" if step.more is not None else ""
        return [f"  {name}: {lock.baseline} stays: {step.reason}{more}"]
    until = f" until {', '.join(step.verify)}" if step.verify else ""
    text = " by text, as expected" if step.by_text is not None else ""
    lines = [f"  {name}: {_shares(before) or lock.baseline}  ⇒  {_shares(step.arms)}{text}{until}"]
    lines.append(
        f"    {certificate.promise}, certified at {certificate.confidence:.0%} to {certificate.expires}, "
        f"slack {certificate.slack:.3f} on {certificate.tested} runs"
    )
    if step.saved is not None and step.cost is not None:
        mean, low, high = step.saved
        lines.append(
            f"    saves {mean:.0%} [{low:.0%}, {high:.0%}] against {lock.baseline}; {money(step.cost[0])} a run"
        )
    if step.by_text is not None:
        lines.append(
            f"    texts remove {step.by_text.adds:.1%} of the error of the step's means (leave-one-out); "
            f"a unit of quality is worth {money(step.by_text.price)} a run"
        )
    if step.dual:
        lines.append(f"    quality binds: one point less would save {money(step.dual)} per 1,000 runs")
    return lines


def list_(policy: Policy, config: ConfigFile = None, as_json: Json = False) -> None:
    """The locks of a policy, and which one serves."""
    found = read_config(config)
    place = locks.folder(found.source, found.server.state_dir)
    serving = found.locks[policy].digest if policy in found.locks else None
    void = _voids(found)
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    for digest, path in locks.past(place, policy).items():
        try:
            lock = locks.parse(path)
        except Unfit as fault:
            output.note(f"{path}: {fault}")
            continue
        certified = sum(step.certificate is not None for step in lock.steps.values())
        row = {"digest": digest, "made": lock.made, "version": lock.version, "certified": certified}
        gone = {step: text for (name, step), text in void.items() if name == digest}
        told.extend(f"{digest}  {step}: {text}" for step, text in gone.items())
        rows.append({**row, "steps": len(lock.steps), "serves": digest == serving, "void": gone})
    if as_json:
        output.emit({"policy": policy, "locks": rows})
        return
    if not rows:
        output.line(f"{policy} has no lock; `fw policy compile {policy}` makes one.")
        return
    table = [
        [r["digest"], r["made"], r["version"], f"{r['certified']} of {r['steps']}", "serves" if r["serves"] else ""]
        for r in rows
    ]
    output.table(["lock", "made", "policy version", "steps certified", ""], table)
    for line in told:
        output.line(line)


def _voids(config: Config) -> dict[tuple[str, str], str]:
    """What the gateway has found out of certificates, as it last saved it."""
    try:
        return history.voids(Path(config.server.state_dir) / FILE)
    except LedgerError as fault:
        output.note(str(fault))
        return {}


def rollback(
    policy: Policy,
    digest: Annotated[str, typer.Argument(help="A lock's digest, or its beginning: `fw policy locks` lists them.")],
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make an earlier lock the one that serves."""
    found = read_config(config)
    place = locks.folder(found.source, found.server.state_dir)
    past = locks.past(place, policy)
    fitting = [path for name, path in past.items() if name.startswith(digest)]
    if len(fitting) != 1:
        what = "no lock" if not fitting else f"{len(fitting)} locks"
        raise output.Fail(f"{what} of {policy} begin with `{digest}`.", near(digest, past), code=output.USAGE)
    try:
        lock = locks.parse(fitting[0])
    except Unfit as fault:
        raise output.Fail(str(fault)) from None
    written = locks.write(place, lock)
    if as_json:
        output.emit({"policy": policy, "digest": lock.digest, "written": str(written)})
        return
    output.line(f"{policy} is back at lock {lock.digest} of {lock.made}: {written}")
