"""The only reader of time, randomness and fresh ids."""

import os
import random
import time
from datetime import date
from email.utils import formatdate
from functools import lru_cache

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_dice = random.Random()  # noqa: S311 - ids and jitter, no secrets
_bits = _dice.getrandbits

monotonic = time.monotonic
"""Seconds that only ever grow; for durations and deadlines. The clock itself: a call reads it a dozen times."""

wall_ns = time.time_ns
"""Nanoseconds since the epoch; for timestamps only, never for durations."""


def today() -> str:
    """The date in UTC, as ISO text."""
    return _date(int(time.time() // _DAY))


def day() -> float:
    """How much of the UTC day is over, in [0, 1)."""
    return time.time() % _DAY / _DAY


def iso_date(ns: int) -> str:
    """The UTC date of a moment in nanoseconds since the epoch, as ISO text."""
    return _date(ns // (_DAY * 1_000_000_000))


@lru_cache(maxsize=64)
def _date(number: int) -> str:
    """The date so many days after the epoch: asked for by every call, and another once a day."""
    return date.fromordinal(_EPOCH + number).isoformat()


def http_date() -> str:
    """Now, as HTTP writes it."""
    return _http_date(int(time.time()))


@lru_cache(maxsize=2)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def hour() -> int:
    """The hour of the day in UTC."""
    return int(time.time() % _DAY // 3600)


def span_id() -> str:
    """A fresh span id: 16 hex digits, not all zero."""
    return f"{_bits(64) or 1:016x}"


def trace_id() -> str:
    """A fresh trace id: 32 hex digits, not all zero."""
    return f"{_bits(128) or 1:032x}"


def ulid() -> str:
    """A fresh id that sorts by time, 26 characters: 48 bits of milliseconds in Crockford's base 32, and 64 random bits.

    A ULID has room for 80 random bits; 64 as 16 hex digits, which are Crockford's too, take a fifth of the time.
    """
    now = time.time_ns() // 1_000_000
    return f"{_stamp(now >> 10)}{_CROCKFORD[now >> 5 & 31]}{_CROCKFORD[now & 31]}{_bits(64):016X}"


@lru_cache(maxsize=4)
def _stamp(ticks: int) -> str:
    """All but the last two characters of a moment, which is in units of 1.024 s."""
    return "".join([_CROCKFORD[ticks >> shift & 31] for shift in range(35, -1, -5)])


def secret() -> str:
    """A fresh random key for a private listener, 43 characters, from the operating system."""
    return os.urandom(32).hex()


def uniform() -> float:
    """A draw from [0, 1), for jitter and exploration."""
    return _dice.random()


def reseed() -> None:
    """Give a forked process dice of its own."""
    _dice.seed()
