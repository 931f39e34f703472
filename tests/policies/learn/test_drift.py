"""Alarms: as seldom false as they say, soon when they are true."""

import json
import math

import numpy as np
import pytest

from fw_policies.learn import drift


def ever(rng: np.random.Generator, before: float, after: float, *, at: int, n: int) -> int | None:
    """Outcomes at `before`, from `at` on at `after`; the outcome at which the alarm comes, from `at`."""
    seen = drift.Evidence(0.8)
    for number in range(n):
        seen = drift.outcome(seen, float(rng.random() < (before if number < at else after)))
        if seen.e >= 20:
            return number - at
    return None


def test_a_promise_that_is_kept_alarms_in_at_most_one_of_twenty_worlds() -> None:
    """Looked at after each of 600 outcomes, the truth exactly at the promise."""
    rng = np.random.default_rng(1)
    false = sum(ever(rng, 0.8, 0.8, at=0, n=600) is not None for _ in range(300))
    assert false <= 0.05 * 300, false


@pytest.mark.parametrize("at", [0, 300])
def test_a_loss_of_twenty_points_is_found_within_two_hundred_outcomes(at: int) -> None:
    """From the start or after 300 good outcomes: the median delay, and it is always found within 1,500."""
    rng = np.random.default_rng(2)
    delays = [ever(rng, 0.85, 0.6, at=at, n=at + 1500) for _ in range(40)]
    assert None not in delays
    late = [delay for delay in delays if delay is not None and delay >= 0]
    assert len(late) >= 36
    assert np.median(late) <= 200, np.median(late)


def healthy(rng: np.random.Generator, calls: int, *, times: float = 1.0, errors: float = 0.02) -> list[float | None]:
    """Latencies around two seconds; None is an error."""
    slow = np.exp(rng.normal(math.log(2.0 * times), 0.4, calls))
    return [None if failed else float(each) for each, failed in zip(slow, rng.random(calls) < errors, strict=True)]


def test_a_steady_deployment_raises_no_false_alarm_in_most_of_a_hundred_thousand_calls() -> None:
    """The mean run between false alarms is 100,000 calls at least: 40 deployments of 1,500 calls raise at most three."""
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(40):
        state, alarmed = drift.Cusum(), False
        for latency in healthy(rng, 1500):
            state = drift.call(state, latency=latency)
            alarmed = alarmed or bool(drift.alarms(state))
        false += alarmed
    assert false <= 3, false


@pytest.mark.parametrize(("times", "errors", "what", "within"), [(5.0, 0.02, "latency", 8), (1.0, 0.5, "errors", 40)])
def test_a_deployment_that_breaks_is_found_soon(times: float, errors: float, what: str, within: int) -> None:
    """Five times slower: within 8 calls; half of the calls failing: within 40 (medians)."""
    rng, delays = np.random.default_rng(4), []
    for _ in range(30):
        state = drift.Cusum()
        for latency in healthy(rng, 300):
            state = drift.call(state, latency=latency)
        for number, latency in enumerate(healthy(rng, 500, times=times, errors=errors), 1):
            state = drift.call(state, latency=latency)
            if what in drift.alarms(state):
                delays.append(number)
                break
    assert len(delays) == 30
    assert np.median(delays) <= within, np.median(delays)


def test_the_bounds_of_the_overlap_hold_in_nineteen_of_twenty_draws() -> None:
    """And an unchanged mix is never proven to have moved."""
    rng, held, moved = np.random.default_rng(5), 0, 0
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.2, 0.3, 0.3, 0.2])
    for _ in range(200):
        counts = [dict(zip("abcd", rng.multinomial(800, each).tolist(), strict=True)) for each in (p, q, p)]
        found, same = drift.mix(counts[0], counts[1]), drift.mix(counts[0], counts[2])
        assert found is not None
        assert same is not None
        held += found.low <= float(np.minimum(p, q).sum()) <= found.high
        moved += same.high < 0.99
        assert found.new == ("d",)
        assert found.psi > 0.25 > same.psi
    assert held >= 190
    assert moved == 0
    assert drift.mix({}, {"a": 1}) is None


def test_the_ladder_answers_the_worst_alarm() -> None:
    """Nothing: hold. Little evidence: widen. A mix half gone, a slow deployment: void. Quality or errors: fall back."""
    assert drift.ladder() == drift.Action("hold", 1.0, explore=False, reasons=())
    some = drift.Evidence(0.8, 10, (5.0,) * 5)
    assert drift.ladder(quality=some).rung == "widen"
    assert drift.ladder(quality=some).widen > 1
    gone = drift.mix({"a": 5000}, {"a": 1000, "b": 4000})
    assert drift.ladder(quality=some, traffic=gone).rung == "void"
    assert drift.ladder(health=drift.Cusum(slow=20.0)).rung == "void"
    worst = drift.ladder(quality=drift.Evidence(0.8, 10, (50.0,) * 5), traffic=gone)
    assert worst.rung == "fall_back"
    assert worst.explore
    assert len(worst.reasons) == 2
    assert drift.ladder(health=drift.Cusum(failing=20.0)).rung == "fall_back"


def test_what_is_watched_survives_a_restart() -> None:
    """Through JSON and back."""
    seen = drift.outcome(drift.outcome(drift.Evidence(0.9), 1.0), 0.0)
    assert drift.Evidence.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen
    state = drift.call(drift.call(drift.Cusum(), latency=2.0), latency=None)
    assert drift.Cusum(**json.loads(json.dumps(state.to_dict()))) == state


def test_an_outcome_outside_of_its_range_is_an_error() -> None:
    """Bets could lose more than they have."""
    with pytest.raises(ValueError, match="outcomes"):
        drift.outcome(drift.Evidence(0.5), 1.5)
