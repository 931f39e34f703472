"""A plan as JSON and back, whole: what was decided can be explained again as it was, long after prices and targets changed."""

import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from fw_policies import by_text
from fw_policies.model import (
    Candidate,
    Estimate,
    MachinePrice,
    Near,
    Note,
    Outlook,
    Plan,
    Proof,
    Requirement,
    Target,
    TokenPrice,
)


def pack(plan: Plan) -> tuple[str, bytes]:
    """The plan's digest and its compressed text; equal plans have equal digests."""
    text = orjson.dumps(dump(plan), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=12).hexdigest(), zlib.compress(text, 1)


def unpack(packed: bytes) -> Plan:
    """The plan that was packed."""
    return load(orjson.loads(zlib.decompress(packed)))


def dump(plan: Plan) -> dict[str, Any]:
    """A plan as plain values. Each target stands once; the rest points at it by number."""
    targets: list[Target] = []
    index: dict[str, int] = {}
    for target in (*plan.targets, *(candidate.target for candidate in plan.candidates)):
        if target.deployment not in index:
            index[target.deployment] = len(targets)
            targets.append(target)
    return {
        "policy": plan.policy,
        "version": plan.version,
        "step": plan.step,
        "objective": plan.objective,
        "strategy": plan.strategy,
        "reason": plan.reason,
        "all": [_target(target) for target in targets],
        "targets": [index[target.deployment] for target in plan.targets],
        "candidates": [
            {
                "target": index[candidate.target.deployment],
                "outlook": _outlook(candidate.outlook),
                "excluded": candidate.excluded,
                "why": candidate.why,
                "rank": candidate.rank,
            }
            for candidate in plan.candidates
        ],
        "requirements": [_slots(requirement) for requirement in plan.requirements],
        "reach": list(plan.reach),
        "proofs": [_slots(proof) for proof in plan.proofs],
        "near": None if plan.near is None else _slots(plan.near),
        "outlook": _outlook(plan.outlook),
        "notes": [[note.rule, note.text] for note in plan.notes],
        "confidence": plan.confidence,
        "baseline": plan.baseline,
        "prices": plan.prices,
        "propensity": plan.propensity,
        "explored": plan.explored,
        "verify": list(plan.verify),
        "effort": plan.effort,
        "by_text": None if plan.by_text is None else by_text.to_dict(replace(plan.by_text, reads=())),
        "otherwise": plan.otherwise,
        "certificate": None if plan.certificate is None else dict(plan.certificate),
        "evidence": dict(plan.evidence),
    }


def load(text: Mapping[str, Any]) -> Plan:
    """The plan that `dump` made plain. Fields it does not know take their defaults, so that old rows stay readable."""
    known = {name: text[name] for name in Plan.__dataclass_fields__ if name in text}
    targets = [_load_target(target) for target in text["all"]]
    known["verify"] = tuple(text.get("verify", ()))
    known["by_text"] = by_text.from_dict(text["by_text"]) if text.get("by_text") else None
    known["targets"] = tuple(targets[number] for number in text["targets"])
    known["candidates"] = tuple(
        Candidate(
            target=targets[found["target"]],
            known=_load_outlook(found["outlook"]),
            excluded=found["excluded"],
            why=found["why"],
            rank=found["rank"],
        )
        for found in text["candidates"]
    )
    known["requirements"] = tuple(Requirement(**found) for found in text["requirements"])
    known["reach"] = tuple(text.get("reach", ()))
    known["proofs"] = tuple(Proof(**found) for found in text.get("proofs", ()))
    known["near"] = Near(**text["near"]) if text.get("near") else None
    known["outlook"] = _load_outlook(text["outlook"])
    known["notes"] = tuple(Note(rule, words) for rule, words in text["notes"])
    return Plan(**known)


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _outlook(outlook: Outlook) -> dict[str, Any]:
    found = {name: getattr(outlook, name) for name in Outlook.__dataclass_fields__}
    return {name: _slots(estimate) for name, estimate in found.items() if estimate is not None}


def _load_outlook(text: Mapping[str, Any]) -> Outlook:
    return Outlook(**{name: _load_estimate(estimate) for name, estimate in text.items()})


def _load_estimate(text: Mapping[str, Any]) -> Estimate:
    """JSON has no infinity: an upper bound that nothing bounds yet was written as null."""
    return Estimate(**{**text, "high": math.inf if text["high"] is None else text["high"]})


def _target(target: Target) -> dict[str, Any]:
    found = _slots(target)
    found["capabilities"] = sorted(target.capabilities)
    found["tags"] = sorted(target.tags)
    if target.price is not None:
        found["price"] = _slots(target.price)
    return found


def _load_target(text: Mapping[str, Any]) -> Target:
    found = dict(text)
    found["capabilities"] = frozenset(found["capabilities"])
    found["tags"] = frozenset(found["tags"])
    price = found["price"]
    if price is not None:
        found["price"] = MachinePrice(**price) if "hour" in price else TokenPrice(**price)
    return Target(**found)
