"""Which of several equal deployments a call goes to: by load, and by where its prefix is cached; draws are arguments."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from fw_gateway.state.health import CLOSED, Deployment

BOUND = 1.25
"""Load over the average from which a call leaves the deployment that has its prefix (Mirrokni et al. 2018: bounded loads)."""
SLACK = 1.0
"""Requests beyond that, so that few calls do not move about."""
FIRST = 0.5
"""Requests over the average that a prefix nobody has cached yet may find at its home."""
PREFIX = 2048
"""Bytes of a conversation's beginning that it is known by."""
RESTS = 1000.0
"""By how much the load of what rests, or says that it cannot serve, is overstated: it comes last."""


def loads(deployments: Sequence[Deployment], now: float, *, stream: bool) -> list[float]:
    """(calls + 1) × how much slower than the quickest, each with what speaks against it."""
    paces = [one.pace.seconds(now, stream=stream) for one in deployments]
    least = min([pace for pace in paces if pace > 0], default=0.0)
    found = []
    for one, pace in zip(deployments, paces, strict=True):
        slower = pace / least if pace > least else 1.0
        circuit = one.circuit
        if one.pace.signals is None:
            load = (one.busy.count + 1) * slower
        else:
            load = (one.pace.requests(one.busy.count, now) + 1) * slower * one.pace.crowding(now)
        load /= circuit.share(now)
        found.append(load if circuit.state == CLOSED and one.pace.well else load * RESTS)
    return found


def home(key: bytes, names: Sequence[str]) -> int:
    """Where a key lives: rendezvous hashing (Thaler and Ravishankar 1998), so that all gateways agree and few keys move when one goes."""
    return max(range(len(names)), key=lambda index: _rank(key, names[index]))


def _rank(key: bytes, name: str) -> bytes:
    return hashlib.blake2b(name.encode(), key=key, digest_size=8).digest()


def two(load: Sequence[float], draws: tuple[float, float]) -> int:
    """The less loaded of two drawn at random (Mitzenmacher 2001)."""
    count = len(load)
    one = int(draws[0] * count)
    other = (one + 1 + int(draws[1] * (count - 1))) % count
    return min(one, other, key=lambda index: load[index])


def pick(load: Sequence[float], draws: tuple[float, float], *, at: int | None, cached: bool, held: bool = False) -> int:
    """The deployment that a call goes to: the one `at` which its prefix is or belongs, unless that has too much to do; else one of two.

    `cached`: its prefix is there for all that is known. `held`: it stays there whatever the load, as long as that one is well.
    """
    well = [index for index, value in enumerate(load) if value < RESTS] or list(range(len(load)))
    if at is not None:
        average = sum(load[index] for index in well) / len(well)
        bound = BOUND * average + SLACK if cached else average + FIRST
        if load[at] <= bound or (held and load[at] < RESTS):
            return at
    return well[two([load[index] for index in well], draws)] if len(well) > 1 else well[0]


def prefix(fields: Mapping[str, Any]) -> bytes:
    """The beginning of a conversation, up to what its user first said: what later calls of it begin with too. Empty: there is none.

    Messages has its system apart from its turns; Responses has `instructions`, and turns that are a text or items in a row.
    """
    turns = next((fields[name] for name in ("messages", "input") if fields.get(name)), ())
    turns = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    system = next((fields[name] for name in ("system", "instructions") if fields.get(name)), None)
    found, left = [], PREFIX
    for message in ({"role": "system", "content": system}, *(turns if isinstance(turns, list) else ())):
        if not isinstance(message, dict):
            break
        text = _text(message.get("content"))[:left]
        if message.get("role") == "system" and not text:
            continue
        found.append(text)
        left -= len(text)
        if left <= 0 or message.get("role") == "user":
            break
    return "\n".join(found).encode("utf-8", "surrogatepass")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
