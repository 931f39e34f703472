"""What an attempt makes of an upstream's headers and of the network's exceptions."""

import asyncio
from email.utils import formatdate

import aiohttp
import pytest

from fw_gateway import clock
from fw_gateway.attempt import retry_after
from fw_gateway.upstream import EXPECTED, fault_of


@pytest.mark.parametrize(
    ("seconds", "milliseconds", "expected"),
    [
        ("2", None, 2.0),
        ("0.5", None, 0.5),
        ("2", "1500", 1.5),
        (None, "250", 0.25),
        ("-1", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("1e9", None, None),
        ("soon", None, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None, 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    seconds: str | None, milliseconds: str | None, expected: float | None
) -> None:
    """Seconds, milliseconds, a date that is over; nonsense is as if nothing was said."""
    assert retry_after(seconds, milliseconds) == expected


def test_a_date_in_the_future_is_that_far_away() -> None:
    """HTTP dates are whole seconds of wall clock."""
    found = retry_after(formatdate(clock.wall_ns() / 1e9 + 60, usegmt=True), None)
    assert found is not None
    assert 58 < found <= 60


@pytest.mark.parametrize(
    ("exc", "error_type"),
    [
        (TimeoutError(), "timeout"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.ServerDisconnectedError(), "connection_error"),
        (aiohttp.ClientPayloadError(), "stream_interrupted"),
        (ConnectionResetError(), "connection_error"),
        (aiohttp.ClientConnectionError(), "connection_error"),
        (OSError(), "connection_error"),
        (asyncio.IncompleteReadError(b"", 1), "_OTHER"),
    ],
)
def test_every_exception_of_the_network_becomes_a_fault(exc: BaseException, error_type: str) -> None:
    """One map, a closed set of types, the class's name for those who search."""
    assert isinstance(exc, EXPECTED)
    fault = fault_of(exc)
    assert (fault.error_type, fault.exception) == (error_type, type(exc).__name__)
