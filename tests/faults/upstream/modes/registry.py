"""The table of all modes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.faults.upstream.play import Play

Run = Callable[[Play], Awaitable[bool]]
ENDS = frozenset({"answer", "status", "rst", "fin", "cut", "silent", "odd", "error"})
"""How a raw client sees it. `answer`: whole and good; `status`: not 2xx; `rst`, `fin`: the connection ends without a whole head;
`cut`: the head came, the body is not whole; `silent`: nothing for a while; `odd`: bytes that a client must judge for itself;
`error`: a stream that carries an error in band."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One row."""

    name: str
    family: str
    ends: str
    run: Run
    says: str
    """What it does, for people."""
    whole: str = ""
    """`ends` of a request that does not stream, where it differs."""


def rows(family: str, table: Mapping[str, tuple[str, Run, str]], **whole: str) -> dict[str, Mode]:
    """Modes out of (ends, run, words) by name; `whole`: `ends` of a request that does not stream, by name."""
    return {name: Mode(name, family, ends, run, says, whole.get(name, "")) for name, (ends, run, says) in table.items()}
