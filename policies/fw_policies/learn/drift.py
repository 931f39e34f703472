"""Whether the world is still the one that was certified: alarms with a stated rate of false ones, and what is done at each.

Quality per (model, step): an e-process on `y - promised`, which may be looked at after every outcome; alarm at 1/alpha (Ville's inequality).
Latency and errors per deployment: CUSUM of log-likelihood ratios, with a stated mean run between false alarms (Lorden, 1971).
The mix of steps: the overlap of this week's shares with the certificate's, with a bound.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple

BETS = (0.03, 0.1, 0.25, 0.5, 0.95)
"""Shares of what may be staked that are tried side by side, from a slow loss to a breakdown."""

Rung = Literal["hold", "widen", "void", "fall_back"]
RUNGS: tuple[Rung, ...] = ("hold", "widen", "void", "fall_back")
"""From nothing to do up to serving the fallback."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Against `the mean outcome is at least what was promised`, of one model at one step."""

    promised: float
    """In (0, 1]: the certificate's lower bound, so that its own uncertainty raises no alarm."""
    n: int = 0
    wealth: tuple[float, ...] = (0.0,) * len(BETS)
    """Of each bet, over all starting times so far."""

    @property
    def e(self) -> float:
        """The e-value now. Under the null it ever reaches 1/alpha with probability alpha at most."""
        return sum(self.wealth) / len(self.wealth) + 1 / (self.n + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"promised": self.promised, "n": self.n, "wealth": list(self.wealth)}

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> "Evidence":
        """What `to_dict` made plain.

        Raises:
            KeyError: something is missing.
        """
        return Evidence(float(found["promised"]), int(found["n"]), tuple(float(each) for each in found["wealth"]))


def outcome(seen: Evidence, y: float) -> Evidence:
    """One more outcome, in [0, 1].

    Betting against the null (Waudby-Smith and Ramdas, 2024), begun anew at every outcome j with weight 1/(j(j+1)): a loss that comes
    late is found as well as one that was there from the start (a mixture over starts is an e-process too).

    Raises:
        ValueError: the outcome, or what was promised, is outside its range.
    """
    if not 0 <= y <= 1 or not 0 < seen.promised <= 1:
        raise ValueError("outcomes lie in [0, 1], what is promised in (0, 1]")
    n = seen.n + 1
    begun = 1 / (n * (n + 1))
    # The stake is at most 1 / (1 - promised), or the bet could lose more than it has.
    most = 1 / max(0.01, 1 - seen.promised)
    gains = (1 + bet * most * (seen.promised - y) for bet in BETS)
    wealth = tuple(min(1e100, (old + begun) * gain) for old, gain in zip(seen.wealth, gains, strict=True))
    return replace(seen, n=n, wealth=wealth)


class Cusum(NamedTuple):
    """Latency and errors of one deployment against what they were."""

    mean: float = 0.0
    """Of the logarithm of the latency in seconds, over the first `LEARNT` calls."""
    squares: float = 0.0
    """Sum of squared deviations."""
    n: int = 0
    calls: int = 0
    errors: float = 0.0
    """Among the first `LEARNT` calls."""
    slow: float = 0.0
    """The statistic for latency, in nats."""
    failing: float = 0.0
    """The statistic for errors."""
    quick: float = 0.0
    """The statistic for a latency that falls again after it rose."""
    times: float = 1.0
    """What the latency that was learnt has been multiplied by since, alarm by alarm."""
    slower: int = 0
    """Calls since `slow` was 0 last."""
    above: float = 0.0
    """Their logarithms above the mean, summed."""
    quicker: int = 0
    below: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Plain values, for JSON; `Cusum(**found)` is the way back."""
        return self._asdict()


FRESH = Cusum()
"""Of a deployment that was never called."""
LEARNT = 50
"""Calls from which a deployment's usual latency and errors are learnt."""
SHIFT = 1.0
"""Standard deviations of slowing down that are looked for."""
LEAST_SPREAD = 0.25
"""Of logarithms of latency: calls are not independent, and a machine that is busier than usual moves them all by a fifth.

What is slower by less than a half is left to the histograms, which keep to the newest calls and are held against what is required.
"""
BETWEEN = 1e5
"""Mean number of calls between two false alarms, at least."""
_LIMIT = math.log(BETWEEN)
_CAUTION = 1.25
"""Times the spread that was learnt, and quarter of it above the mean: fifty calls do not know them exactly."""
_MARGIN = _CAUTION - 1
_MOST = 4.0
_USUAL = SHIFT**2 / 2


def call(state: Cusum, *, latency: float | None) -> Cusum:
    """One more call of a deployment: its latency in seconds, or None for an error."""
    mean, squares, n, calls, errors, slow, failing, quick, times, slower, above, quicker, below = state
    failed = latency is None
    if calls < LEARNT:
        calls, errors = calls + 1, errors + failed
    else:
        failing = max(0.0, failing + _surprises(errors)[failed])
    if latency is not None:
        log = math.log(max(latency, 1e-6))
        off = log - mean
        if n < LEARNT:
            n += 1
            mean += off / n
            squares += off * (log - mean)
        else:
            z = off / (max(LEAST_SPREAD, math.sqrt(squares / (LEARNT - 1))) * _CAUTION)
            slow, quick = _grown(slow, z), _grown(quick, -z)
            slower, above = (slower + 1, above + off) if slow > 0 else (0, 0.0)
            quicker, below = (quicker + 1, below - off) if quick > 0 else (0, 0.0)
    return Cusum(mean, squares, n, calls, errors, slow, failing, quick, times, slower, above, quicker, below)


@cache
def _surprises(errors: float) -> tuple[float, float]:
    """What a success and a failure add to the statistic for errors, when so many of the first calls failed: log-likelihood ratios."""
    usual = (errors + 1) / (LEARNT + 2)
    usual = min(0.5, usual + 1.3 * math.sqrt(usual * (1 - usual) / LEARNT))
    feared = min(0.95, max(3 * usual, usual + 0.1))
    return math.log((1 - feared) / (1 - usual)), math.log(feared / usual)


def _grown(statistic: float, z: float) -> float:
    """One wild call is no drift: its surprise is cut at four deviations."""
    surprise = z - _MARGIN
    grown = statistic + SHIFT * (surprise if surprise < _MOST else _MOST) - _USUAL
    return grown if grown > 0 else 0.0


def shifted(state: Cusum, *, between: float = BETWEEN) -> tuple[Cusum, float]:
    """After an alarm of latency: the state that watches the new one, and how many times the old it is; 1 while nothing has moved.

    Estimated from the calls since the change began, as the statistic dates it. A latency that falls again is followed down to what was
    learnt, and no further: below that nothing was ever measured.
    """
    limit, factor = math.log(between), 1.0
    if state.slow >= limit:
        factor = max(1.0, math.exp(state.above / state.slower))
    elif state.quick >= limit and state.times > 1:
        factor = max(1 / state.times, min(1.0, math.exp(-state.below / state.quicker)))
    if factor == 1.0:
        return state, 1.0
    reset = state._replace(slow=0.0, quick=0.0, slower=0, above=0.0, quicker=0, below=0.0)
    return reset._replace(mean=state.mean + math.log(factor), times=state.times * factor), factor


def calm(state: Cusum) -> bool:
    """Whether nothing has moved: neither `alarms` nor `shifted` would say anything."""
    return state.failing < _LIMIT and state.slow < _LIMIT and (state.quick < _LIMIT or state.times <= 1)


def alarms(state: Cusum, *, between: float = BETWEEN) -> tuple[str, ...]:
    """Which of `latency` and `errors` have moved; `between` is the least mean number of calls between two false alarms.

    The limit is log(between): a CUSUM of log-likelihood ratios crosses h after e^h calls or more on average (Lorden, 1971).
    """
    limit = math.log(between)
    found = (("latency", state.slow), ("errors", state.failing))
    return tuple(name for name, value in found if value >= limit)


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of the traffic is like the data that certified."""

    overlap: float
    """1 - total variation: 1 is the same mix, 0 has no step in common."""
    low: float
    high: float
    """Bounds at the confidence asked for, whatever the two mixes are."""
    psi: float
    """Population stability index; above 0.25 is usually called a shift."""
    new: tuple[str, ...]
    """Steps that the certificate never saw, the largest first."""
    calls: tuple[int, int]
    """Certified, and now."""


def mix(certified: Mapping[str, int], now: Mapping[str, int], *, confidence: float = 0.95) -> Mix | None:
    """Compare counts of calls per step; None when one side has none.

    An empirical distribution over k steps from n calls is within sqrt(k/n)/2 + sqrt(log(1/d)/(2n)) of the true one in total variation, with
    probability 1 - d (mean by Cauchy-Schwarz, deviation by McDiarmid, 1989); the error is shared between the two sides.
    """
    was, total_now = sum(certified.values()), sum(now.values())
    if not was or not total_now:
        return None
    steps = sorted(certified.keys() | now.keys())
    shares = [(certified.get(step, 0) / was, now.get(step, 0) / total_now) for step in steps]
    overlap = sum(min(pair) for pair in shares)
    each = (1 - confidence) / 2
    slack = sum(
        math.sqrt(sum(count > 0 for count in side.values()) / n) / 2 + math.sqrt(math.log(1 / each) / (2 * n))
        for side, n in ((certified, was), (now, total_now))
    )
    k = len(steps)
    smooth = [((p * was + 0.5) / (was + k / 2), (q * total_now + 0.5) / (total_now + k / 2)) for p, q in shares]
    psi = sum((q - p) * math.log(q / p) for p, q in smooth)
    new = sorted((step for step in now if now[step] and not certified.get(step)), key=lambda step: (-now[step], step))
    bounds = max(0.0, overlap - slack), min(1.0, overlap + slack)
    return Mix(overlap, *bounds, psi, tuple(new), (was, total_now))


@dataclass(frozen=True, slots=True)
class Action:
    """What drift asks for."""

    rung: Rung
    widen: float
    """Times the width of the intervals of the certificate; 1 leaves them."""
    explore: bool
    """Whether evidence must be gathered anew."""
    reasons: tuple[str, ...]


COVERED = (0.8, 0.5)
"""Overlap below which a certificate is widened, and voided; both only when proven, by the upper bound."""


def ladder(
    *, quality: Evidence | None = None, health: Cusum | None = None, traffic: Mix | None = None, alpha: float = 0.05
) -> Action:
    """The lowest rung that answers every alarm: widen, void, fall back; above `widen`, explore again.

    Quality proven below its promise falls back at once. Half of that evidence (on the log scale) widens. A deployment that slows down or fails is
    left: its latency certificate is void, the quality of its model is not. A mix that moved voids what it no longer covers.
    """
    found: list[tuple[Rung, str]] = []
    if quality is not None and quality.e >= 1 / alpha:
        found.append(
            ("fall_back", f"outcomes fall short of the promised {quality.promised:.3f} (e-value {quality.e:.0f})")
        )
    elif quality is not None and quality.e >= math.sqrt(1 / alpha):
        found.append(
            ("widen", f"outcomes may fall short of the promised {quality.promised:.3f} (e-value {quality.e:.1f})")
        )
    moved = () if health is None else alarms(health)
    found.extend(("fall_back" if name == "errors" else "void", f"{name} moved from what was learnt") for name in moved)
    if traffic is not None and traffic.high < COVERED[0]:
        rung: Rung = "void" if traffic.high < COVERED[1] else "widen"
        found.append((rung, f"covers {traffic.overlap:.0%} of the traffic now, {traffic.high:.0%} at most"))
    rung = max((each[0] for each in found), key=RUNGS.index, default="hold")
    wider = 1.0
    if rung == "widen":
        wider = 1.5 if traffic is None or traffic.high >= COVERED[0] else max(1.5, 1 / max(0.1, traffic.overlap))
    return Action(rung, wider, RUNGS.index(rung) > 1, tuple(reason for _, reason in found))
