"""An amount of money: a whole number of nano-USD, or unknown. Unknown is never zero."""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import total_ordering
from typing import Any

_NANO = 1_000_000_000
_AMOUNT = re.compile(r"^\s*(?:\$\s*(?P<a>[0-9.eE+-]+)|(?P<b>[0-9.eE+-]+)\s*(?:USD|usd|\$)?)\s*$")


@total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """US dollars, exact to a nano-dollar. `nano` None: nobody knows the amount; it prints as `unknown`."""

    nano: int | None

    @classmethod
    def of(cls, amount: "Money | Decimal | str | float | None") -> "Money":
        """From `"2 USD"`, `"$2"`, `"0.002"`, a number of dollars, or None for unknown.

        Raises:
            ValueError: it is not an amount of US dollars.
        """
        if isinstance(amount, Money):
            return amount
        if amount is None:
            return cls(None)
        found = _AMOUNT.match(str(amount))
        try:
            dollars = Decimal((found["a"] or found["b"]) if found else "")
        except InvalidOperation:
            dollars = Decimal("NaN")
        if not dollars.is_finite() or dollars < 0:
            raise ValueError(f'{amount!r} is not an amount of money; write "2 USD", "$0.50" or a number of dollars')
        return cls(int((dollars * _NANO).to_integral_value(ROUND_HALF_EVEN)))

    @property
    def usd(self) -> Decimal | None:
        """Dollars, exactly; None when unknown."""
        return None if self.nano is None else Decimal(self.nano) / _NANO

    def plain(self) -> str:
        """Dollars as a decimal without an exponent, for the wire; empty when unknown."""
        if self.usd is None:
            return ""
        text = f"{self.usd:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def __add__(self, other: "Money") -> "Money":
        return Money(None if self.nano is None or other.nano is None else self.nano + other.nano)

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        if self.nano is None or other.nano is None:
            raise TypeError("an unknown amount cannot be compared; test `money.usd is None` first")
        return self.nano < other.nano

    def __str__(self) -> str:
        if self.usd is None:
            return "unknown"
        if self.usd == 0 or self.usd >= 1:
            return f"${self.usd:.2f}" if self.usd == round(self.usd, 2) else f"${self.usd:.4f}"
        return f"${float(self.usd):.3g}" if self.usd >= Decimal("0.0001") else f"${self.plain()}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


ZERO = Money(0)
UNKNOWN = Money(None)
