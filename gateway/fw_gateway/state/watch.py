"""Whether what was learnt, and what was certified, still holds: drift's monitors, fed as calls end and outcomes come in.

An alarm makes what came before it void: statistics forget it, a lock's certificate serves no more, and EXPLAIN says so.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fw_policies.estimate.intervals import bounded_mean
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.learn import drift
from fw_policies.lock import Certificate, Lock
from fw_policies.spec import units

ALPHA = 0.01
"""Probability with which outcomes that keep their promise ever raise an alarm."""
FIRST = 20
"""Outcomes from which it is first learnt what a model keeps; again at each doubling, while nothing speaks against it."""
SURE = 0.99
"""Confidence of what is learnt so: it is a lower bound, so that its own uncertainty raises no alarm."""
SEPARATOR = "\x1f"
KEPT = 200
"""Voids that are remembered; the oldest is forgotten first."""
Key = tuple[str, ...]
_log = logging.getLogger("fw.drift")


class Judged(NamedTuple):
    """A served call that an outcome speaks about, as far as certificates are concerned."""

    policy: str
    step: str
    model: str
    explored: bool


@dataclass(slots=True)
class Kept:
    """Outcomes of one model at one step since the last alarm, and the evidence that they fall short of what they were."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    next: int = FIRST
    evidence: drift.Evidence | None = None

    def alarm(self, value: float) -> bool:
        """One more outcome, in [0, 1]; whether what came before it is void."""
        if self.evidence is not None:
            self.evidence = drift.outcome(self.evidence, value)
            if self.evidence.e >= 1 / ALPHA:
                return True
        self.n, self.total, self.squares = self.n + 1, self.total + value, self.squares + value * value
        if self.n >= self.next:
            self.next = 2 * self.n
            self.evidence = self._learnt()
        return False

    def _learnt(self) -> drift.Evidence | None:
        """The newest bound under the wealth so far: the bound was known before the outcomes that it is held against, so that the bets stay fair."""
        low = bounded_mean(self.n, self.total, self.squares, SURE)[0]
        old = self.evidence
        if old is None:
            return drift.Evidence(low) if low > 0 else None
        return drift.Evidence(max(low, old.promised), old.n, old.wealth)


class Watch:
    """All monitors of one gateway. Time is an argument: an ISO date, or what tells it when it is asked for."""

    def __init__(self, locks: Mapping[str, Lock], saved: Mapping[str, Any] | None = None) -> None:
        """`saved` is what `to_dict` gave an earlier process."""
        self._locks = {policy: (lock.digest, lock) for policy, lock in locks.items()}
        found = saved or {}
        self._kept = {_parts(key): _kept(each) for key, each in found.get("quality", {}).items()}
        self._calls = {_parts(key): drift.Cusum(**each) for key, each in found.get("calls", {}).items()}
        self._promises = {
            _parts(key): drift.Evidence.from_dict(each) for key, each in found.get("promises", {}).items()
        }
        self._void: dict[Key, str] = {_parts(key): str(text) for key, text in found.get("void", {}).items()}
        self._said: dict[Key, str] = {_parts(key): str(text) for key, text in found.get("said", {}).items()}

    @property
    def voids(self) -> dict[tuple[str, str], str]:
        """(policy, step) -> why and since when the certificate of the lock in use is void."""
        digests = {digest: policy for policy, (digest, _) in self._locks.items()}
        return {(digests[key[0]], key[1]): text for key, text in self._void.items() if key[0] in digests}

    @property
    def said(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(agent, step) -> what was forgotten there, why and since when; until it is known anew."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for key, text in self._said.items():
            found[key[0], key[1]] = (*found.get((key[0], key[1]), ()), text)
        return found

    def outcome(self, key: Key, value: float, today: str) -> bool:
        """An outcome of (agent, step, model, name); whether what statistics know of that key is void."""
        kept = self._kept.setdefault(key, Kept())
        if not kept.alarm(min(1.0, max(0.0, value))):
            if kept.n == FIRST:
                self._said.pop(key, None)
            return False
        promised = kept.evidence.promised if kept.evidence is not None else 0.0
        self._kept[key] = Kept()
        what = "the share of its answers that pass their checks" if key[3] == ACCEPTED else key[3]
        text = f"{key[2]}: {what} fell below the {promised:.3f} that it kept before; what came before {today} is void"
        self._say(key, text)
        return True

    def call(self, key: Key, latency: float | None, today: Callable[[], str]) -> float:
        """A call of (agent, step, deployment, measure), in seconds, None: it failed; what its histograms must be multiplied by, 0: they are void."""
        state = drift.call(self._calls.get(key, drift.FRESH), latency=latency)
        if not drift.calm(state):
            return self._moved(key, state, today())
        self._calls[key] = state
        if state.n == drift.LEARNT == state.calls and latency is not None and state.times == 1.0:
            self._said.pop(key, None)
        return 1.0

    def _moved(self, key: Key, state: drift.Cusum, today: str) -> float:
        """A deployment is not what it was: void what its monitor learnt, or follow it."""
        if "errors" in drift.alarms(state):
            self._calls[key] = drift.Cusum()
            self._say(
                key, f"{key[2]}: more calls fail than is usual; what was known of its {key[3]} before {today} is void"
            )
            return 0.0
        self._calls[key], factor = drift.shifted(state)
        times = self._calls[key].times
        if factor != 1.0 and times < 1.1:
            self._said.pop(key, None)
        elif factor != 1.0:
            self._say(key, f"{key[2]}: {key[3]} became {times:.1f} times what was usual; seen on {today}")
        return factor

    def reported(self, served: Iterable[Judged], values: Mapping[str, float], of: str, today: str) -> bool:
        """Outcomes of `of` (run, step) by name, once for each certificate that they speak about; whether one is void now.

        A run that explored says nothing about what was certified.
        """
        calls = tuple(served)
        explored = {(call.policy, call.step) for call in calls if call.explored}
        if of == "run" and explored:
            return False
        places = {(call.policy, call.step, call.model): None for call in calls}
        alarmed, done = False, set(explored)
        for policy, step, model in places:
            if (policy, step) not in done and self._bears(policy, step, model, of):
                done.add((policy, step))
                alarmed = self._judge(policy, step, values, today) or alarmed
        return alarmed

    def _bears(self, policy: str, step: str, model: str, of: str) -> bool:
        found = self._locks[policy][1].steps.get(step) if policy in self._locks else None
        if found is None or found.certificate is None or found.certificate.of != of:
            return False
        return any(model in arm.models for arm in found.arms)

    def _judge(self, policy: str, step: str, values: Mapping[str, float], today: str) -> bool:
        digest, lock = self._locks[policy]
        certificate = lock.steps[step].certificate
        key = (digest, step)
        if certificate is None or key in self._void or certificate.outcome not in values:
            return False
        promised = _promised(certificate)
        if promised <= 0:
            return False
        known = self._promises.get(key) or drift.Evidence(promised)
        known = drift.outcome(known, min(1.0, max(0.0, values[certificate.outcome])))
        self._promises[key] = known
        if known.e < 1 / ALPHA:
            return False
        del self._promises[key]
        text = f"void since {today}: {certificate.outcome} falls short of the certified {known.promised:.3f}"
        self._void[key] = text
        while len(self._void) > KEPT:
            del self._void[next(iter(self._void))]
        _log.warning("lock %s of %s, step %s: %s; the certificate serves no more", digest, policy, step, text)
        return True

    def _say(self, key: Key, text: str) -> None:
        self._said[key] = text
        while len(self._said) > KEPT:
            del self._said[next(iter(self._said))]
        _log.warning("agent %s, step %s: %s", key[0] or "-", key[1], text)

    def told(self, found: Mapping[str, Any]) -> None:
        """Take over what another process has declared void."""
        self._void |= {_parts(key): str(text) for key, text in found.get("void", {}).items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "quality": {SEPARATOR.join(key): _plain(kept) for key, kept in self._kept.items()},
            "calls": {SEPARATOR.join(key): state.to_dict() for key, state in self._calls.items()},
            "promises": {SEPARATOR.join(key): seen.to_dict() for key, seen in self._promises.items()},
            "void": {SEPARATOR.join(key): text for key, text in self._void.items()},
            "said": {SEPARATOR.join(key): text for key, text in self._said.items()},
        }


def _promised(found: Certificate) -> float:
    """The lower bound of the mean that was certified: a sample that was all right does not promise that nothing is ever wrong."""
    try:
        return min(1.0, units.share(found.promise.partition(">=")[2]) + found.slack)
    except units.Unreadable:  # It speaks of the baseline, whose mean the certificate does not name.
        total = min(1.0, found.quality) * found.tested
        return bounded_mean(found.tested, total, total, SURE)[0] if found.tested else 0.0


def _parts(key: str) -> Key:
    return tuple(key.split(SEPARATOR))


def _plain(kept: Kept) -> list[Any]:
    evidence = None if kept.evidence is None else kept.evidence.to_dict()
    return [kept.n, kept.total, kept.squares, kept.next, evidence]


def _kept(found: list[Any]) -> Kept:
    evidence = None if found[4] is None else drift.Evidence.from_dict(found[4])
    return Kept(int(found[0]), float(found[1]), float(found[2]), int(found[3]), evidence)
