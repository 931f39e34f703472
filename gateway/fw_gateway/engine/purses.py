"""What exploring may still spend today: taken from the ledger in advances, so that few calls wait for the disk."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from fw_gateway import clock
from fw_gateway.ledger import Entry, Ledger, LedgerError

ADVANCE = 0.02
"""Share of a day's ceiling that is reserved at once, where a single call needs less. A crash loses at most that and what is under way."""
LEAD = 0.05
"""Share of a day's ceiling by which spending may run ahead of the clock."""
ROOM = 32
"""The dearest attempts that may run ahead all the same: a purse of a few attempts cannot be spread over a day."""
LEVELS = 8
"""Steps of the pace: each is a propensity, and each propensity a plan of its own."""
_log = logging.getLogger("fw.explore")


@dataclass(slots=True)
class Account:
    """One purse on one day, in nano-USD."""

    spent: int
    """As the ledger has it: with reservations, and with the advance."""
    advance: int = 0
    """Reserved, and not needed yet."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What was set aside for one explored attempt."""

    purse: str
    day: str
    amount: int


def pace(spent: int, ceiling: int, *, day: float, dearest: int) -> float:
    """What the share of exploring is multiplied by, in steps of 1/LEVELS, so that a purse lasts the whole day.

    1 as long as spending is behind the clock, 0 when it is `lead` ahead of it, in proportion between: more traffic than the purse can
    pay for settles where what is explored costs as much as the clock brings. `day`: how much of it is over; `dearest`: nano-USD of one attempt.
    """
    lead = max(LEAD * ceiling * (1 - day), float(ROOM * dearest))
    ahead = spent - ceiling * day
    if ahead <= 0 or lead <= 0:
        return 1.0 if ahead <= 0 else 0.0
    return max(0.0, ceil(LEVELS * (lead - ahead) / lead) / LEVELS)


class Purses:
    """The purses of this process. What is reserved in the ledger is never more than the ceiling, whoever else reserves."""

    def __init__(self, ledger: Ledger) -> None:
        """`ledger` keeps them."""
        self._ledger = ledger
        self._accounts: dict[tuple[str, str], Account] = {}
        self.broken = False
        """The ledger cannot be written: a ceiling that cannot be kept is a ceiling of nothing."""

    def room(self, purse: str, ceiling: int) -> int:
        """Nano-USD that one more attempt may cost; negative while nothing is known of the day."""
        found = self._accounts.get((purse, clock.today()))
        return -1 if found is None or self.broken else ceiling - found.spent + found.advance

    def pace(self, purse: str, ceiling: int, dearest: Callable[[], int]) -> float:
        """What the share of exploring is multiplied by now; `dearest` is asked only when spending is ahead of the clock."""
        found, day = self._accounts.get((purse, clock.today())), clock.day()
        if found is None or found.spent - found.advance <= ceiling * day:
            return 1.0
        return pace(found.spent - found.advance, ceiling, day=day, dearest=dearest())

    async def open(self, purse: str, ceiling: int) -> None:
        """Learn what today's purse has spent, once a day; yesterday's advances go back."""
        today = clock.today()
        if self.broken or (purse, today) in self._accounts:
            return
        back = self._returned(self._accounts, before=today)
        self._accounts = {at: account for at, account in self._accounts.items() if at[1] >= today}
        await self._ask(Entry(purse, today, 0), ceiling, back)

    async def take(self, purse: str, amount: int, ceiling: int) -> Reserved | None:
        """Set `amount` aside; None when the ceiling leaves no room for it."""
        day = clock.today()
        account = self._accounts.setdefault((purse, day), Account(ceiling))
        held, account.advance = min(amount, account.advance), account.advance - min(amount, account.advance)
        need = amount - held
        if need == 0:
            return Reserved(purse, day, amount)
        for wanted in (max(need, int(ceiling * ADVANCE)), need):
            if await self._ask(Entry(purse, day, wanted), ceiling):
                account.advance += wanted - need
                return Reserved(purse, day, amount)
        account.advance += held
        return None

    def settle(self, reserved: Reserved, cost: int | None) -> None:
        """The attempt is over: what it did not cost is an advance again. An unknown cost keeps all of it."""
        account = self._accounts.get((reserved.purse, reserved.day))
        if account is not None and cost is not None:
            account.advance += reserved.amount - cost

    def close(self) -> None:
        """Give the advances back."""
        back = self._returned(self._accounts)
        self._accounts = {}
        if not back:
            return
        try:
            self._ledger.reserve(Entry(back[0].purse, back[0].day, 0), 0, back)
        except LedgerError as fault:
            _log.warning("what exploring did not use stays reserved: %s", fault)

    def _returned(self, accounts: dict[tuple[str, str], Account], *, before: str = "") -> list[Entry]:
        return [
            Entry(purse, day, -account.advance)
            for (purse, day), account in accounts.items()
            if account.advance and (not before or day < before)
        ]

    async def _ask(self, wanted: Entry, ceiling: int, back: list[Entry] | None = None) -> bool:
        try:
            fits, spent = await asyncio.to_thread(self._ledger.reserve, wanted, ceiling, back or ())
        except LedgerError as fault:
            self.broken = True
            _log.error("nothing is explored any more: %s", fault)
            return False
        self._accounts.setdefault((wanted.purse, wanted.day), Account(spent)).spent = spent
        return fits
