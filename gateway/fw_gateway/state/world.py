"""The frozen world that decisions are made in: taken anew when something changed, and remembered plans with it."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fw_gateway import clock
from fw_gateway.catalog import text
from fw_gateway.catalog.priors import priors
from fw_gateway.config import Config
from fw_gateway.state.budget import RetryBudget
from fw_gateway.state.health import UNSAID, Deployment
from fw_gateway.state.shared import Addition, Shared
from fw_gateway.state.watch import Judged, Watch
from fw_gateway.values import Attempt, Record
from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.model import Exclusion, Facts, Plan, Target, World
from fw_policies.optimize import optimize, pinned
from fw_policies.rules.balance import alike
from fw_policies.spec import Policy

FRESH = 1.0
"""Seconds for which statistics may be older than the last call."""

STEPS = 2000
"""(agent, step) pairs that statistics are kept for; names come from clients, and later ones are counted together."""

TOGETHER = 32
"""Attempts that are learnt from at once; fewer when a new world is made, when what was learnt is saved, or when one speaks against what was known:
it failed, or was rejected. So what has become slow is found out up to a second later than by each call alone."""

MEMORY = 4096
"""Plans remembered per world; beyond that the oldest half is forgotten."""

EARLY = 0.02
"""Seconds before its deadline at which a call counts as ended by it."""
LONGEST = 3600.0
"""Seconds that a provider may close one of its deployments for, whatever it says."""

_OURS = frozenset({"timeout", "connection_error", "stream_interrupted", "invalid_response"})
"""Failures that are the deployment's own, beside 5xx."""

LEARNT = frozenset({"chat", "embeddings"})
"""Operations whose times and sizes say something of the next call."""


class Worlds:
    """Keeps statistics and health, and makes frozen worlds of them."""

    def __init__(self, config: Config, statistics: Statistics, drift: Mapping[str, Any] | None = None) -> None:
        """`statistics` and `drift` are what earlier processes learnt."""
        self._config = config
        self._statistics = statistics
        self._unlearnt: deque[tuple[Observation, bool, bool | None]] = deque()
        """Attempts that ended: what they showed, whether by their deployment's fault, and whether the answer passed its checks."""
        self._watch = Watch(config.locks, drift)
        self._priors = priors(config.policies, [endpoint.target for endpoint in config.endpoints])
        self.deployments: dict[str, Deployment] = {e.target.deployment: Deployment() for e in config.endpoints}
        self._budgets: dict[tuple[str, str], RetryBudget] = {}
        self._models = {e.target.deployment: e.target.model for e in config.endpoints}
        self._limits = {e.target.deployment: max(e.ttft_limit, e.stall_limit) for e in config.endpoints}
        self._blocked = {name: _exclusion(reason) for name, reason in config.blocked.items()}
        self._replicas = _replicas(config)
        self._steps = statistics.steps()
        reads = any(step.by_text is not None for lock in config.locks.values() for step in lock.steps.values())
        self._embedding = text.digest() if reads else ""
        self._outcomes = {policy.quality.outcome for policy in config.policies.values() if policy.quality is not None}
        self._plans: dict[tuple[str, Facts], Plan] = {}
        self._taken = -FRESH
        self._changed = True
        self._awake: World | None = None
        """The world as if nothing rested: used when a rest would leave nobody to serve. None: nothing rests."""
        self._world = self._take()
        self.dirty = False
        """Something was learnt since the statistics were saved."""

    def plan(self, policy: Policy | None, facts: Facts) -> Plan:
        """The plan for these facts in the world as it is; equal facts get the same plan until the world changes."""
        now = clock.monotonic()
        if self._changed and now - self._taken >= FRESH:
            self._world = self._take()
        key = (policy.digest if policy is not None else "", facts)
        found = self._plans.get(key)
        if found is None:
            found = _decide(policy, facts, self._world)
            if not found.targets and self._awake is not None:
                found = _decide(policy, facts, self._awake)
            if len(self._plans) >= MEMORY:
                for old in list(self._plans)[: MEMORY // 2]:
                    del self._plans[old]
            self._plans[key] = found
        return found

    @property
    def world(self) -> World:
        """The newest frozen world."""
        return self._world

    def _take(self) -> World:
        known = self.statistics.freeze()
        self._taken = clock.monotonic()
        self._changed = False
        self._plans.clear()
        config = self._config
        blocked: dict[str, Exclusion] = dict(self._blocked)
        resting = {}
        for name, deployment in self.deployments.items():
            reason = deployment.circuit.blocked(self._taken)
            if reason and name not in blocked:
                resting[name] = reason
        self._changed = bool(resting)  # a rest ends by itself: look again soon
        for name in self._needed(resting):
            del resting[name]
        world = World(
            targets=tuple(endpoint.target for endpoint in config.endpoints),
            blocked={**blocked, **resting},
            estimates=known,
            today=clock.today(),
            prices=config.prices,
            stand_in=config.server.stand_in,
            locks=config.locks,
            priors=self._priors,
            voids=self._watch.voids,
            drifted=self._watch.said,
            embedding=self._embedding,
            texts=config.telemetry.text_features,
        )
        self._awake = replace(world, blocked=blocked) if resting else None
        return world

    def _needed(self, resting: Mapping[str, Exclusion]) -> list[str]:
        """What rests and is not left out all the same: more than half of its replicas rest. The well ones are asked first, but are too few."""
        found = []
        for names in self._replicas:
            out = [name for name in names if resting.get(name) == "cooldown"]
            if len(names) / 2 < len(out) < len(names):
                found += out
        return found

    def observe(self, record: Record, machine_seconds: Mapping[int, float]) -> None:
        """Learn from a finished call. `machine_seconds` by attempt number."""
        agent, step = self._counted(record.call.identity.agent, record.call.identity.step)
        now = clock.monotonic()
        looked = record.plan.candidates if record.plan is not None else ()
        expected, against = looked[0].size if looked else None, False
        for attempt in record.attempts:
            if attempt.outcome not in {"success", "rejected", "error", "timeout"}:
                continue
            failed = self._failed(attempt, record)
            self._health(attempt, now, failed=failed)
            if record.call.operation not in LEARNT:
                continue
            # Of a model that any name is passed on to, the name is the caller's: plans and their estimates know the configured one.
            model = self._models.get(attempt.target.deployment, attempt.target.model)
            usage = attempt.usage
            seen = Observation(
                agent=agent,
                step=step,
                model=model,
                deployment=attempt.target.deployment,
                ok=attempt.outcome in {"success", "rejected"},
                ttft=attempt.ttft,
                latency=(attempt.ended or now) - attempt.started,
                input_tokens=usage.input_tokens if usage else None,
                expected_tokens=expected,
                output_tokens=usage.output_tokens if usage else None,
                cached_tokens=usage.cached_tokens if usage else None,
                cost=attempt.cost,
                machine_seconds=machine_seconds.get(attempt.number),
                error_type=attempt.error_type,
            )
            self._unlearnt.append((seen, failed, attempt.accepted))
            against = against or failed or attempt.accepted is False
        self._changed = self.dirty = True
        if against or len(self._unlearnt) >= TOGETHER:
            self._learn()

    def _learn(self) -> None:
        """Take in what was seen since the last time, all in one go: the same code once more costs a third of what it costs between calls."""
        while self._unlearnt:
            each, failed, accepted = self._unlearnt.popleft()
            if failed or each.ok:
                self._timed(each, failed=failed)
            self._statistics.observe(each)
            if accepted is not None:
                self._judged(OutcomeSeen(each.agent, each.step, each.model, ACCEPTED, float(accepted)))

    @property
    def statistics(self) -> Statistics:
        """All that was seen."""
        if self._unlearnt:
            self._learn()
        return self._statistics

    def _counted(self, agent: str, step: str) -> tuple[str, str]:
        """Where a call is counted: its own agent and step, as long as there is room for another pair."""
        pair = (agent, step or "*")
        if pair not in self._steps:
            if len(self._steps) >= STEPS:
                return "", "*"
            self._steps.add(pair)
        return pair

    def _failed(self, attempt: Attempt, record: Record) -> bool:
        """Whether an attempt failed by its deployment's own fault: a client that would not wait is none of that."""
        if (
            attempt.error_type == "timeout"
            and attempt.ended is not None
            and attempt.ended >= record.call.deadline - EARLY
        ):
            return attempt.ended - attempt.started >= self._limits.get(attempt.target.deployment, 0.0)
        return attempt.error_type in _OURS or (attempt.status or 0) >= 500

    def _health(self, attempt: Attempt, now: float, *, failed: bool) -> None:
        deployment = self.deployments.get(attempt.target.deployment)
        if deployment is None:
            return
        told = attempt.outcome in {"success", "rejected"} or failed
        if told and deployment.circuit.observe(
            ok=not failed, now=now, began=attempt.started, draw=clock.uniform() if failed else 0.0
        ):
            self._taken = -FRESH
        self._changed = True

    def limited(self, name: str, seconds: float | None) -> None:
        """A provider asked to be left alone for a while; None: it did not say for how long."""
        deployment = self.deployments.get(name)
        if deployment is not None:
            deployment.circuit.limit(UNSAID if seconds is None else min(seconds, LONGEST), clock.monotonic())
            self._changed, self._taken = True, -FRESH

    def refused(self, name: str, status: int) -> None:
        """A provider refused the key of a deployment with this status."""
        deployment = self.deployments.get(name)
        if deployment is not None and deployment.circuit.refused(status, clock.monotonic()):
            self._changed, self._taken = True, -FRESH

    def budget(self, target: Target) -> RetryBudget:
        """The retry budget of the group that a target belongs to: the deployments of one model at one provider."""
        key = (target.model, target.provider)
        found = self._budgets.get(key)
        if found is None:
            found = self._budgets[key] = RetryBudget()
        return found

    def outcome(self, seen: OutcomeSeen) -> None:
        """Learn from an outcome, if a policy calls it quality; clients may report others, and those are only stored."""
        if seen.name not in self._outcomes:
            return
        if self._unlearnt:
            self._learn()  # what came before comes first
        agent, step = self._counted(seen.agent, seen.step)
        self._judged(replace(seen, agent=agent, step=step))
        self._changed = self.dirty = True

    def certified(self, served: Iterable[Judged], values: Mapping[str, float], *, of: str) -> None:
        """Hold outcomes of `of` (run, step), by name, against what locks certify of the calls they speak about."""
        if self._watch.reported(served, values, of, clock.today()):
            self._taken = -FRESH
        self._changed = self.dirty = True

    def to_dict(self) -> dict[str, Any]:
        """What was learnt, plain, for the next process."""
        return {**self.statistics.to_dict(), "drift": self._watch.to_dict()}

    def take(self) -> tuple[Addition, Mapping[str, Any]] | None:
        """What this process has to add to what all have seen; None: it is alone."""
        found = self.statistics
        return (found.take(), self._watch.to_dict()) if isinstance(found, Shared) else None

    def give_back(self, found: Addition) -> None:
        """It could not be added."""
        if isinstance(self._statistics, Shared):
            self._statistics.give_back(found)
            self.dirty = True

    def renew(self, together: Mapping[str, Any]) -> None:
        """Go on with what all have seen."""
        found = self.statistics
        if isinstance(found, Shared):
            self._statistics = found.renewed(together)
            self._watch.told(together.get("drift", {}))
            self._steps |= self._statistics.steps()
            self._changed = True

    def _judged(self, seen: OutcomeSeen) -> None:
        """Count an outcome; when it is the one too many against a model, what was known of it is void."""
        key = (seen.agent, seen.step, seen.model, seen.name)
        if self._watch.outcome(key, seen.value, clock.today()):
            self._statistics.forget_outcomes(key)
            self._taken = -FRESH
        else:
            self._statistics.outcome(seen)

    def _timed(self, seen: Observation, *, failed: bool) -> None:
        """Hold a call against what its deployment usually takes; when that has moved, so does what was known of it."""
        place = (seen.agent, seen.step, seen.deployment)
        for measure, seconds in (("latency", seen.latency), ("ttft", seen.ttft)):
            if seconds is None:
                continue
            times = self._watch.call((*place, measure), None if failed else seconds, clock.today)
            if times != 1.0:
                self._statistics.moved(place, measure, times)
                self._taken = -FRESH


def _decide(policy: Policy | None, facts: Facts, world: World) -> Plan:
    return optimize(policy, facts, world) if policy is not None else pinned(facts, world)


def _replicas(config: Config) -> list[list[str]]:
    """Deployments that are alike and may serve, group by group."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for target in (endpoint.target for endpoint in config.endpoints):
        if target.deployment not in config.blocked:
            groups.setdefault(alike(target), []).append(target.deployment)
    return [names for names in groups.values() if len(names) > 1]


def _exclusion(reason: str) -> Exclusion:
    return "no_credential" if reason == "no_credential" else "unhealthy"
