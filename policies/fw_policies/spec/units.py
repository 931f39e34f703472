"""Amounts as people write them: `2 USD`, `800ms`, `98%`, `1pt`."""

import re
from decimal import Decimal

from fw_policies.model import NANO_USD

SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-zA-Z%$]*)")
_DOLLARS = re.compile(r"\$\s*(\d{1,15}(?:\.\d{1,15})?)")


class Unreadable(ValueError):
    """A text that is no amount of that kind; the message says what would be."""


def money(text: str) -> int:
    """Nano-USD of `2 USD` or `$0.05`, rounded half up.

    Raises:
        Unreadable: it is no amount of money.
    """
    dollars = _DOLLARS.fullmatch(text.strip())
    found = _AMOUNT.fullmatch(text.strip())
    if dollars is None and (found is None or found[2].upper() != "USD"):
        raise Unreadable(f"`{text}` is no amount of money: write `0.05 USD`")
    number = dollars[1] if dollars is not None else found[1] if found is not None else "0"
    return int(Decimal(number) * NANO_USD + Decimal("0.5"))


def seconds(text: str) -> float:
    """Seconds of `800ms`, `2s`, `15min`, `1h`, `7d`.

    Raises:
        Unreadable: it is no duration.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in SECONDS:
        raise Unreadable(f"`{text}` is no duration: write a number with one of {', '.join(SECONDS)}, like `30s`")
    return float(Decimal(found[1]) * SECONDS[found[2]])


def share(text: str) -> float:
    """0.98 of `98%` or `0.98`.

    Raises:
        Unreadable: it is neither.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in {"", "%"}:
        raise Unreadable(f"`{text}` is no share: write `98%` or `0.98`")
    number = Decimal(found[1])
    return float(number / 100 if found[2] == "%" else number)


def points(text: str) -> float:
    """0.01 of `1pt`, a hundredth on a scale from 0 to 1.

    Raises:
        Unreadable: it is no number of points.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in {"pt", "pts"}:
        raise Unreadable(f"`{text}` is no margin: write points, like `1pt`")
    return float(Decimal(found[1]) / 100)
