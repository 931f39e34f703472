"""When a call is made again, and after how long."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsdk._retry import Outcome, decide, told


def wait(attempt: int, outcome: Outcome, *, draw: float = 0.5, remaining: float = 600.0) -> float | None:
    return decide(attempt, outcome, max_retries=2, remaining=remaining, wall=1000.0, draw=draw)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501])
def test_what_would_fail_again_is_not_repeated(status: int) -> None:
    """The request is at fault, or the money is gone."""
    assert wait(1, Outcome(status)) is None


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_repeated_twice(status: int | None) -> None:
    """Full jitter under a ceiling that doubles."""
    assert [wait(attempt, Outcome(status), draw=0.5) for attempt in (1, 2, 3)] == [0.25, 0.5, None]


@given(st.integers(1, 40), st.floats(0, 0.999))
def test_a_wait_without_word_is_below_its_ceiling(attempt: int, draw: float) -> None:
    """Never more than eight seconds, however many attempts."""
    found = decide(attempt, Outcome(503), max_retries=99, remaining=1e9, wall=0.0, draw=draw)
    assert found is not None
    assert 0 <= found <= min(8.0, 0.5 * 2 ** (attempt - 1))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": formatdate(1007, usegmt=True)}, 7.0),
        ({"retry-after": formatdate(900, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds, an HTTP date; what cannot be read is ignored."""
    assert told(headers, 1000.0) == seconds


@given(st.floats(0, 0.999))
def test_the_wait_asked_for_is_kept_and_at_most_a_quarter_more(draw: float) -> None:
    """So that all who were told the same do not come back at once."""
    found = wait(1, Outcome(429, {"retry-after": "4"}), draw=draw)
    assert found is not None
    assert 4.0 <= found <= 5.0


def test_a_wait_beyond_patience_or_deadline_is_the_callers_business() -> None:
    """Nobody sits still for minutes, or past the end."""
    assert wait(1, Outcome(429, {"retry-after": "61"})) is None
    assert wait(1, Outcome(429, {"retry-after": "10"}), remaining=9.0) is None


def test_the_server_has_the_last_word() -> None:
    """`x-should-retry` overrides the status, in both directions."""
    assert wait(1, Outcome(503, {"x-should-retry": "false"})) is None
    assert wait(1, Outcome(400, {"x-should-retry": "true"})) is not None
