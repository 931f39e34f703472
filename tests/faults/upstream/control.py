"""The control API: what is to be played, and what was."""

import json
from typing import TYPE_CHECKING, Any

from tests.faults.upstream.http import Request, dumped, whole
from tests.faults.upstream.modes import AT_PORT, MODES, NOT_HERE
from tests.faults.upstream.naming import Wanted, parse

if TYPE_CHECKING:
    from tests.faults.upstream.server import Upstream

CONNECT = frozenset({"rst_on_accept", "accept_no_read", "refuse"})


async def answer(upstream: "Upstream", request: Request) -> bytes:
    """The answer to a request of the control API."""
    name = (request.method, request.path)
    if name == ("GET", "/__log"):
        found: Any = upstream.log.select(request.query)
    elif name == ("GET", "/__truth"):
        found = upstream.log.truth(request.query)
    elif name == ("GET", "/__state"):
        found = state(upstream)
    elif name == ("GET", "/__modes"):
        rows = {mode.name: {"family": mode.family, "ends": mode.ends, "says": mode.says} for mode in MODES.values()}
        found = {"modes": rows, "at_port": AT_PORT, "not_here": NOT_HERE}
    elif name == ("POST", "/__script"):
        try:
            found = await script(upstream, json.loads(request.body))
        except (ValueError, KeyError, IndexError, AttributeError, TypeError) as fault:
            return whole(400, dumped({"error": f"this script cannot be read: {fault!r}"}))
    elif name == ("POST", "/__reset"):
        upstream.log.forget()
        found = {"ok": True}
    else:
        return whole(404, dumped({"error": "there are __log, __truth, __state, __modes, __script and __reset"}))
    return whole(200, dumped(found))


def state(upstream: "Upstream") -> dict[str, Any]:
    """What is going on right now."""
    rows = [
        {
            "replica": one.index,
            "running": one.running,
            "waiting": one.waiting,
            "connections": sum(peer.port == one.index and not peer.lost for peer in upstream.peers),
            "plays": one.wanted.text if one.wanted is not None else None,
        }
        for one in upstream.replicas
    ]
    return {
        "ports": upstream.ports,
        "replicas": rows,
        "thief": upstream.log.thief,
        "attempts": len(upstream.log.attempts),
    }


async def script(upstream: "Upstream", given: dict[str, Any]) -> dict[str, Any]:
    """Take a script.

    `seed`: of everything drawn. `nonces`: {nonce: [mode of the first attempt, of the second, ...]}. `ports`: {replica: mode that
    the whole replica plays, or null}; `rst_on_accept`, `accept_no_read` and `refuse` are for connections. `modes`: for a `nonce`.

    Raises:
        ValueError: a mode is unknown.
    """
    if "seed" in given:
        upstream.script.seed = int(given["seed"])
    nonces = dict(given.get("nonces", {}))
    if "nonce" in given:
        nonces[given["nonce"]] = given["modes"]
    for nonce, modes in nonces.items():
        upstream.script.nonces[nonce] = [_wanted(mode) for mode in modes]
    for port, mode in given.get("ports", {}).items():
        await _port(upstream, int(port), mode)
    return {"ok": True}


def _wanted(text: str) -> Wanted:
    found = parse(text, bare=True)
    if found is None or found.mode not in MODES:
        raise ValueError(f"there is no mode {text!r}")
    return found


async def _port(upstream: "Upstream", index: int, mode: str | None) -> None:
    replica = upstream.replicas[index]
    connect = mode if mode in CONNECT else None
    if index < len(upstream.ports["ports"]):
        await upstream.listening(index, connect != "refuse")
    upstream.script.connect.pop(index, None)
    if connect is not None:
        upstream.script.connect[index] = connect
        for peer in [found for found in upstream.peers if found.port == index]:
            peer.reset()  # what was open before would hide it
    replica.wanted = None if mode is None or connect is not None else _wanted(mode)
    replica.waiting, replica.slots = 0, None
