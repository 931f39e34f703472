"""What may not serve and what is not proven: each candidate is out for the first reason, in the order of the screens.

What a screen says whatever the numbers of the request are (its size, its limits, what is left of time and money) is `lasting`: it is
worked out once for a step, and again for those targets alone of which something else is known. The rest is `passing`: it grows with an
extent of the request, and each candidate has a reach, the extent up to which there is nothing to say, so that a request is held
against numbers and looks at those candidates alone that it goes beyond. Of one screen, what is known to fail goes before what is not
known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from math import inf
from typing import Any, NamedTuple

from fw_policies.model import Candidate, Exclusion, Known, Note, Target
from fw_policies.rules import hard, requirements
from fw_policies.rules.ask import Ask, Judge, Lasting, Passing, Verdict, kept


class Screen(NamedTuple):
    """One kind of reason."""

    name: str
    lasting: Callable[[Ask], Lasting | None] | None = None
    """None, here and below: there is nothing to judge."""
    passing: Callable[[Ask], Passing | None] | None = None
    reach: Callable[[Candidate, Ask], float] | None = None
    """The extent up to which the passing part says nothing of a candidate; None: it may always have something to say."""

    def judges(self, ask: Ask) -> list[Judge]:
        """Of both parts."""
        parts = [part(ask) for part in (self.lasting, self.passing) if part is not None]
        return [part.judge for part in parts if part is not None]


HARD: tuple[Screen, ...] = (
    Screen("fitting", lasting=hard.fitting),
    Screen("capability", lasting=hard.capability),
    Screen("context", passing=hard.context, reach=hard.window),
    Screen("available", lasting=hard.available),
    Screen("budget", passing=hard.budget),
    Screen("deadline", passing=hard.deadline, reach=hard.haste),
)
SCREENS: tuple[Screen, ...] = (
    *HARD,
    Screen("proven", lasting=requirements.lasting, passing=requirements.passing, reach=requirements.reach),
)
PASSING = [(place, screen) for place, screen in enumerate(SCREENS) if screen.passing is not None]


class _Row(NamedTuple):
    """How one target stands at a step, for a request of no size."""

    excluded: Exclusion
    why: str
    rank: float | None
    out: str
    """The screen that keeps it out; empty: none does."""
    reaches: tuple[float, ...]
    """For each of PASSING; infinite where a lasting verdict comes before."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """The rows of all targets, column by column."""

    heads: Sequence[Sequence[Any]]
    """Of candidates, but for the size."""
    out: Sequence[str]
    reaches: Sequence[Sequence[tuple[float, int]]]
    """For each of PASSING, the candidates that it may have something to say of: reach and number, the shortest first."""
    notes: tuple[Note, ...]


def screened(ask: Ask) -> tuple[tuple[Candidate, ...], tuple[Note, ...]]:
    """Every target as a candidate, each with the first reason that is against it; and what each screen kept out."""
    world, size = ask.world, ask.facts.input_tokens
    grounds = (world.blocked, world.priors, world.today)
    standing = kept(ask.memory, ("standing", ask.facts.needs), grounds, lambda: _stand(ask))
    # What a named tuple does itself, without a call for each: there are many.
    found = list(map(tuple.__new__, repeat(Candidate), zip(*standing.heads, repeat(size))))
    changed: dict[int, str] = {}
    for (_, screen), reaches in zip(PASSING, standing.reaches, strict=True):
        passing = screen.passing(ask) if screen.passing is not None else None
        if passing is None:
            continue
        judge, extent = passing
        for reach, number in reaches:
            if reach >= extent:
                break
            verdict = None if number in changed else judge(found[number])
            if verdict is None or (verdict[0] == "unknown" and standing.out[number] == screen.name):
                continue
            changed[number] = screen.name
            target, known, _, _, rank, _ = found[number]
            found[number] = Candidate(target, known, *verdict, rank, size)
    if not changed:
        return tuple(found), standing.notes
    return tuple(found), _notes([changed.get(number, name) for number, name in enumerate(standing.out)])


def able(targets: Sequence[Target], ask: Ask) -> list[Target]:
    """Those that no hard rule keeps out."""
    judges = [judge for screen in HARD for judge in screen.judges(ask)]
    looked, size = ask.looked, ask.facts.input_tokens
    return [one for one in targets if not any(judge(Candidate(one, looked(one), size=size)) for judge in judges)]


def _stand(ask: Ask) -> _Standing:
    parts = [None if screen.lasting is None else screen.lasting(ask) for screen in SCREENS]
    slot = ("row", ask.policy.digest, id(ask.rules), ask.facts.needs, ask.checked)
    grounds = (ask.policy, ask.rules, ask.world.priors, *(None if part is None else part.grounds for part in parts))
    judges = [(place, part.judge) for place, part in enumerate(parts) if part is not None]
    of_target = [part.of_target for part in parts if part is not None and part.of_target is not None]
    targets, rows = ask.world.targets, list[_Row]()
    knowns = list(map(ask.looked, targets))
    for target, known in zip(targets, knowns, strict=True):
        mine = (grounds, [found(target) for found in of_target])
        had = known.memory.get(slot)
        if had is not None and had[0] == mine:  # as `kept`, which is a call for each of many
            rows.append(had[1])
        else:
            rows.append(kept(known.memory, slot, mine, partial(_row, target, known, judges, ask)))
    excluded, whys, ranks, out, reaches = zip(*rows, strict=True) if rows else ((),) * 5
    finite = [
        [(reach, number) for number, reach in enumerate(column) if reach < inf] for column in zip(*reaches, strict=True)
    ]
    shortest = [sorted(column) for column in finite] or [[]] * len(PASSING)
    return _Standing((targets, knowns, excluded, whys, ranks), out, shortest, _notes(out))


def _row(target: Target, known: Known, judges: Sequence[tuple[int, Judge]], ask: Ask) -> _Row:
    priors, name = ask.world.priors, ask.policy.name
    rank = priors.get((name, target.model), priors.get(("*", target.model))) if priors else None
    candidate = Candidate(target, known, rank=rank)
    until, verdict = _first(candidate, judges)
    excluded, why = verdict or ("", "")
    last = until if excluded == "unknown" else until - 1
    reaches = tuple(_reach(screen, candidate, ask) if place <= last else inf for place, screen in PASSING)
    return _Row(excluded, why, rank, SCREENS[until].name if verdict else "", reaches)


def _first(candidate: Candidate, judges: Sequence[tuple[int, Judge]]) -> tuple[int, Verdict]:
    """The first verdict, and the place of its screen; that after the last when there is none."""
    for place, judge in judges:
        verdict = judge(candidate)
        if verdict is not None:
            return place, verdict
    return len(SCREENS), None


def _reach(screen: Screen, candidate: Candidate, ask: Ask) -> float:
    return -inf if screen.reach is None else screen.reach(candidate, ask)


def _notes(out: Sequence[str]) -> tuple[Note, ...]:
    counts: dict[str, int] = {}
    for name in out:
        counts[name] = counts.get(name, 0) + 1
    return tuple(Note(name, f"{count} of {len(out)} candidates") for name, count in counts.items() if name)
