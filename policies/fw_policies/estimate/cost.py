"""Money: integer nano-USD, rounded half up once per kind of token; unknown when a price or a count is."""

from collections.abc import Callable, Mapping
from typing import Protocol

from fw_policies.model import MachinePrice, TokenPrice

MILLION = 1_000_000
HOUR = 3600.0


class Counted(Protocol):
    """Tokens as a provider reports them; None: not reported. Input includes cached, output includes reasoning."""

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None


def tokens(count: float, price: int) -> int:
    """Nano-USD for `count` tokens at `price` nano-USD per million, rounded half up."""
    if isinstance(count, int):
        return (count * price + MILLION // 2) // MILLION
    return int(count * price / MILLION + 0.5)


def line(fixed: float, price: int, known: Mapping[int, float], count: Callable[[int], float]) -> Callable[[int], float]:
    """What finds `fixed` and `tokens(count(size), price)` of a size; what is `known` of counts is not asked again."""

    def at(size: int) -> float:
        found = known.get(size)
        return fixed + int((count(size) if found is None else found) * price / MILLION + 0.5)

    return at


def machine(seconds: float, price: MachinePrice) -> int:
    """Nano-USD for machine-seconds at a price per hour, rounded half up."""
    return int(seconds * price.hour / HOUR + 0.5)


def charge(
    price: TokenPrice | MachinePrice | None, usage: Counted | None, *, machine_seconds: float | None = None
) -> int | None:
    """What an attempt cost, in nano-USD; None when the price, or a count that it needs, is unknown."""
    if isinstance(price, MachinePrice):
        return None if machine_seconds is None else machine(machine_seconds, price)
    if price is None or usage is None:
        return None
    incoming, outgoing = usage.input_tokens, usage.output_tokens
    if incoming is None:
        return None
    if outgoing is None:
        if price.output:
            return None
        outgoing = 0
    cached = min(usage.cached_tokens or 0, incoming)
    written = min(usage.cache_write_tokens or 0, incoming - cached)
    read_at = price.input if price.cached_input is None else price.cached_input
    write_at = price.input if price.cache_write is None else price.cache_write
    plain = tokens(incoming - cached - written, price.input)
    return plain + tokens(cached, read_at) + tokens(written, write_at) + tokens(outgoing, price.output)
