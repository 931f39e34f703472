"""A gateway's life in small, with a bit of everything: calls end, outcomes come in, places rest, and requests of all kinds are decided."""

import random
from collections.abc import Iterator
from typing import Any

from fw_policies.estimate import Observation, OutcomeSeen, Statistics, quantise
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.lock import Arm, Certificate, Lock, LockedStep
from fw_policies.model import NANO_USD, Exclusion, Facts, MachinePrice, Target, TokenPrice, World
from fw_policies.spec import Policy, parse

AGENTS = ("coding", "coding", "coding", "support")
STEPS = ("edit", "edit", "edit", "plan", "elsewhere")
REASONS: tuple[Exclusion, ...] = ("cooldown", "rate_limited", "unhealthy", "no_credential")
NEEDS = ("tools", "vision", "stream")
PROMISE = "quality >= 80% of baseline"


class Story:
    """One life, by its seed: targets and policies stay, statistics grow."""

    def __init__(self, seed: int) -> None:
        """Some of the targets have been called before it begins."""
        self.dice = random.Random(seed)
        self.statistics = Statistics()
        self.targets = tuple(self._targets())
        self.policies = [self._policy(name) for name in ("p", "q")]
        models = sorted({target.model for target in self.targets})
        dice = self.dice
        self.priors = {("*", model): dice.random() for model in models if dice.random() < 0.3}
        self.locks = self._locks(models) if dice.random() < 0.5 else {}
        for place in [place for place in self.targets if dice.random() < 0.9]:
            self._calls(place, dice.choice([3, 120, 400]), "coding", "edit")

    def turns(self, count: int) -> Iterator[tuple[Policy, Facts, World]]:
        """Requests to be decided, each in the world of its moment."""
        dice = self.dice
        blocked: dict[str, Exclusion] = {}
        for _ in range(count):
            if dice.random() < 0.4:
                self._something()
            if dice.random() < 0.2:
                blocked = {one.deployment: dice.choice(REASONS) for one in self.targets if dice.random() < 0.1}
            world = World(
                self.targets,
                blocked,
                self.statistics.freeze(),
                dice.choice(["2026-11-23", "2026-11-24"]),
                stand_in=dice.choice([None, "m1"]),
                locks=self.locks,
                priors=self.priors,
                voids={("p", "edit"): "it drifted"} if dice.random() < 0.2 else {},
                texts=dice.random() < 0.3,
                drifted={("coding", "edit"): ("m1 is slower now",)} if dice.random() < 0.2 else {},
            )
            yield dice.choice(self.policies), self._facts(), world

    def _targets(self) -> Iterator[Target]:
        dice = self.dice
        for number in range(dice.randint(2, 7)):
            cheap = dice.randint(1, 30) * NANO_USD // 10
            shared = TokenPrice(cheap, 10 * cheap, dice.choice([None, cheap // 4]))
            for place in range(dice.randint(1, 3)):
                own = dice.choice([*[shared] * 7, TokenPrice(cheap, 5 * cheap), MachinePrice(cheap), None])
                model = "m9-*" if number > 1 and dice.random() < 0.02 else f"m{number}"
                odd = number > 0 and dice.random() < 0.3
                yield Target(
                    model,
                    f"m{number}@p{place}",
                    dice.choice(["same", f"provider-{place}"]),
                    model,
                    price=own,
                    capabilities=frozenset(
                        {"chat", *dice.sample(NEEDS, dice.randint(1, 3))} if odd or dice.random() < 0.3 else ()
                    ),
                    context=dice.choice([2000, 16_000] if odd else [None, 128_000]),
                    max_output=dice.choice([None, 500, 4000]),
                    region=dice.choice([None, "eu", "us"]),
                    zone=dice.choice([None, "a", "b"]),
                    self_hosted=odd,
                    tags=frozenset(["old"] if odd else []),
                    deprecated_on=dice.choice(["2026-11-24", "2027-01-01"]) if odd else None,
                    order=dice.choice([0, place]),
                )

    def _policy(self, name: str) -> Policy:
        dice = self.dice
        judged = dice.random() < 0.8
        text: dict[str, Any] = {"policy": name, "baseline": "m0", "default": self._section(judged)}
        if judged:
            text["quality"] = {"outcome": dice.choice(["right", "liked"]), "of": "step"}
        if dice.random() < 0.6:
            loss = dice.choice(["0pt", "5pt", "30pt"])
            text["explore"] = {"share": "5%", "max_cost": "1 USD/day", "max_quality_loss": loss}
        if dice.random() < 0.3:
            text["run"] = ["cost <= 0.01 USD"]
        text["steps"] = {"plan": self._section(judged)}
        if dice.random() < 0.4:
            case = {"when": dice.choice(["attempt >= 2", "budget_left <= 0.1 USD"])}
            text["steps"]["plan"]["cases"] = [case | self._section(judged)]
        return parse(text)

    def _section(self, judged: bool) -> dict[str, Any]:
        dice = self.dice
        goal = dice.choice(["cost", "cost", "latency", "ttft", "quality" if judged else "cost"])
        some: dict[str, Any] = {
            "otherwise": dice.choice(["baseline", "refuse", "relax [ttft, quality]", "relax [cost]"]),
            "allow": ["hedge"],
            "verify": dice.choice(["not_empty", "own_check", ["not_empty", "own_check"]]),
            "failure_domains": 2,
            "effort": dice.choice(["low", "high"]),
            "models": {"exclude": [dice.choice(["m1", "old", "m*3"])]},
            "data": dice.choice([{"regions": ["eu"]}, {"self_hosted": dice.random() < 0.5}]),
            "use": "baseline",
        }
        often = {"otherwise": 0.4, "verify": 0.25, "use": 0.02}
        kept = {key: value for key, value in some.items() if dice.random() < often.get(key, 0.1)}
        return {"maximize" if goal == "quality" else "minimize": goal, "require": self._lines(judged), **kept}

    def _lines(self, judged: bool) -> list[str]:
        dice = self.dice
        every = [
            dice.choice(["p95 ttft <= 1s", "p90 ttft <= 3s"]),
            dice.choice(["p95 latency <= 4s", "p90 latency <= 12s"]),
            dice.choice(["p95 cost <= 0.002 USD", "p90 cost <= 0.05 USD", "cost <= 0.01 USD", "cost <= 0.1 USD"]),
        ]
        if judged:
            every.append(dice.choice([PROMISE, PROMISE, "quality >= 0.7", "quality >= baseline - 5pt"]))
        dice.shuffle(every)
        return [line for line in every if dice.random() < 0.6] + ["p95 tpot <= 50ms"] * (dice.random() < 0.1)

    def _locks(self, models: list[str]) -> dict[str, Lock]:
        policy, dice = self.policies[0], self.dice
        proof = Certificate(PROMISE, "right", "step", 0.9, 0.91, 0.012, 400, "2026-12-06")
        arms = (Arm((dice.choice(models), "m0")),), (Arm((dice.choice(models),), 0.5), Arm(("m0",), 0.5))
        steps = {step: LockedStep(dice.choice(arms), proof) for step in ("edit", "plan")}
        return {"p": Lock("p", policy.digest, "m0", "2026-11-22", "d1", "2026-11-01", "2026-11-22", "x", 0, steps)}

    def _something(self) -> None:
        """A call ended, an outcome came in, a place has changed."""
        dice, place = self.dice, self.dice.choice(self.targets)
        agent, step = dice.choice(AGENTS), dice.choice(STEPS)
        what = dice.random()
        if what < 0.5:
            self._calls(place, dice.choice([1, 5, 80]), agent, step)
        elif what < 0.8:
            name = dice.choice(["right", "liked", ACCEPTED])
            for _ in range(dice.choice([1, 10])):
                self.statistics.outcome(OutcomeSeen(agent, step, place.model, name, float(dice.random() < 0.8)))
        elif what < 0.9:
            measure, times = dice.choice(["ttft", "latency"]), dice.choice([0.0, 0.5, 3.0])
            self.statistics.moved((agent, step, place.deployment), measure, times)
        else:
            self.statistics.forget_outcomes((agent, step, place.model, "right"))

    def _calls(self, place: Target, count: int, agent: str, step: str) -> None:
        dice, statistics = self.dice, self.statistics
        usual, good = dice.choice([0.3, 1.0, 1.0, 4.0]), dice.choice([0.6, 0.9, 0.95])
        for _ in range(count):
            took = usual * dice.uniform(0.7, 1.4)
            size = dice.choice([100, 3000])
            one = Observation(
                agent,
                step,
                place.model,
                place.deployment,
                ok=dice.random() > 0.002,
                ttft=took / 4 if dice.random() < 0.9 else None,
                latency=took,
                input_tokens=int(size * dice.uniform(0.9, 2.0)),
                output_tokens=dice.randint(1, 400),
                cached_tokens=dice.choice([None, 40]),
                machine_seconds=took if isinstance(place.price, MachinePrice) else None,
                expected_tokens=size,
            )
            statistics.observe(one)
            for name in ("right", "liked", ACCEPTED):
                if dice.random() < 0.7:
                    value = float(dice.random() < good)
                    statistics.outcome(OutcomeSeen(agent, step, place.model, name, value))

    def _facts(self) -> Facts:
        dice = self.dice
        return Facts(
            dice.choice(AGENTS),
            dice.choice(STEPS),
            attempt=dice.randint(1, 3),
            needs=frozenset(dice.sample(NEEDS, dice.choice([0, 0, 0, 1, 2]))),
            input_tokens=quantise(dice.choice([0, dice.randint(1, 1000), dice.randint(1, 40_000)])),
            max_output_tokens=dice.choice([None, None, 10, 300, 5000]),
            budget_left=dice.choice([*[None] * 6, 0, NANO_USD // 2000, NANO_USD]),
            deadline=dice.choice([*[None] * 6, 1.0, 5.0]),
            checks=dice.choice([*[()] * 5, ("own_check",), ("*",)]),
        )
