"""Where a call goes among deployments that its plan holds equal: the plan decides the model, the state of now decides the place."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from fw_gateway import clock
from fw_gateway.lasting import Lasting
from fw_gateway.providers.protocols import RESPONSES
from fw_gateway.state import Deployment, Worlds, balance
from fw_gateway.values import Call
from fw_policies.model import Plan, Target
from fw_policies.rules.balance import equals, led

MEMORY = 8192
"""Runs, threads and prefixes whose place is remembered; the one that was quiet for longest is forgotten first."""
SLOW = 0.95
"""Share of answers that begin sooner than one that is hedged."""
SOONEST = 0.3
"""Seconds before which nothing is hedged."""
_ORDERS = 64
"""Orders of one plan's equals that are remembered; then all are forgotten."""


@dataclass(slots=True)
class Equals:
    """What of a plan is the same for all its calls. It does not hold the plan: it is forgotten with that."""

    targets: tuple[Target, ...]
    deployments: list[Deployment]
    names: list[str]
    led: dict[tuple[int, ...], Plan] = field(default_factory=dict)
    """By the order of `targets`, the plan as it is walked."""

    def ordered(self, plan: Plan, ranked: tuple[int, ...]) -> Plan:
        """The plan with its equals in this order."""
        found = self.led.get(ranked)
        if found is None:
            if len(self.led) >= _ORDERS:
                self.led.clear()
            found = self.led[ranked] = led(plan, [self.targets[index] for index in ranked])
        return found


class Balancer:
    """Orders the equals of plans."""

    def __init__(self, worlds: Worlds) -> None:
        """`worlds` knows the load and the health of each deployment."""
        self._worlds = worlds
        self._equals = Lasting(self._group)
        self._places: OrderedDict[bytes, str] = OrderedDict()

    def order(self, plan: Plan, call: Call, *, sticky: bool = False) -> Plan:
        """The plan as it is walked for this call. `sticky`: the policy keeps a run's or a thread's cache, so load alone moves nothing."""
        group = self._equals[plan]
        count = len(group.targets)
        if count < 2:
            return plan
        now = clock.monotonic()
        load = balance.loads(group.deployments, now, stream=call.stream)
        due = [index for index, one in enumerate(group.deployments) if one.circuit.due(now)]
        first = due[0] if due else self._pick(call, group, load, sticky=sticky)
        ranked = sorted(range(count), key=load.__getitem__)
        ranked.remove(first)
        return group.ordered(plan, (first, *ranked))

    def patience(self, plan: Plan, call: Call) -> float | None:
        """Seconds after which this call's first target is slow to begin: longer than 95 of its last 100 answers took; None: not known."""
        found = self._worlds.deployments[plan.targets[0].deployment].pace.percentile(SLOW, stream=call.stream)
        return None if found is None else max(SOONEST, found)

    def _group(self, plan: Plan) -> Equals:
        targets = equals(plan)
        names = [target.deployment for target in targets]
        return Equals(targets, [self._worlds.deployments[name] for name in names], names)

    def _pick(self, call: Call, group: Equals, load: list[float], *, sticky: bool) -> int:
        draws = (clock.uniform(), clock.uniform())
        key = _key(call, group.targets[0].model)
        if not key:
            return balance.pick(load, draws, at=None, cached=False)
        names = group.names
        place = self._places.get(key)
        cached = place is not None and place in names
        at = names.index(place) if cached and place is not None else balance.home(key, names)
        found = balance.pick(load, draws, at=at, cached=cached, held=sticky and cached)
        if not cached:
            self._places[key] = names[found]
            if len(self._places) > MEMORY:
                self._places.popitem(last=False)
        self._places.move_to_end(key)
        return found


def _key(call: Call, model: str) -> bytes:
    """What a call's cached prefix is known by: its thread, else its run, else how its conversation begins."""
    who = call.identity
    said = who.thread or who.run
    begins = (
        f"{call.key_id}\x1f{who.agent}\x1f{said}".encode("utf-8", "surrogateescape")
        if said
        else balance.prefix(call.fields, "input" if call.protocol == RESPONSES else "messages")
    )
    return hashlib.blake2b(begins, key=model.encode()[:64], digest_size=16).digest() if begins else b""
