"""Which arm a text is worth: a read-out of its embedding for each arm, weighed against what the arm costs. Pure, and without numpy.

A text comes as whole numbers, `SIZE` of them in one byte each, so that what was proven on stored texts is exactly what serves.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from operator import mul
from typing import Any

SIZE = 128
"""Numbers of a text, each from −127 to 127."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What is expected of one arm: quality = `quality` + `scale` × (`weights` · text), at `cost` nano-USD a run."""

    quality: float
    """For a text of which nothing is known."""
    cost: float
    scale: float
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ByText:
    """A rule that gives each text an arm: the one of least cost − price × quality."""

    embedding: str
    """Digest of the embedding that makes numbers of a text; under another one they mean nothing."""
    price: float
    """Nano-USD per run that one unit of quality is worth: the dual price of the floor."""
    adds: float
    """Share of the squared error of the arms' means that texts remove, by leave-one-out."""
    reads: tuple[Reads, ...]
    """One per arm, in the arms' order; empty where only a call of it is told of."""

    def choose(self, text: bytes) -> int:
        """The number of the arm that `text` gets, whose embedding it is; the first of equals."""
        numbers = memoryview(text).cast("b")
        best, least = 0, float("inf")
        for index, one in enumerate(self.reads):
            quality = one.quality + one.scale * sum(map(mul, one.weights, numbers))
            paid = one.cost - self.price * quality
            if paid < least:
                best, least = index, paid
        return best


def to_dict(rule: ByText) -> dict[str, Any]:
    """Plain values; the weights of an arm are one short line."""
    return {
        "embedding": rule.embedding,
        "price_nano_usd": rule.price,
        "adds": rule.adds,
        "arms": [
            {
                "quality": one.quality,
                "cost_nano_usd": one.cost,
                "scale": one.scale,
                "weights": base64.b64encode(bytes(weight & 0xFF for weight in one.weights)).decode(),
            }
            for one in rule.reads
        ],
    }


def from_dict(found: Mapping[str, Any]) -> ByText:
    """The rule that `to_dict` made plain.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    reads = []
    for one in found["arms"]:
        weights = tuple(memoryview(base64.b64decode(one["weights"], validate=True)).cast("b"))
        if len(weights) != SIZE:
            raise ValueError(f"a text has {SIZE} numbers, not {len(weights)}")
        reads.append(Reads(float(one["quality"]), float(one["cost_nano_usd"]), float(one["scale"]), weights))
    return ByText(str(found["embedding"]), float(found["price_nano_usd"]), float(found["adds"]), tuple(reads))
