"""Which words two texts share: hashed counts, each word weighed by how rare it is among the texts that were learnt from."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
SIZE = 4096
"""Places that words are hashed to: a rare collision costs less than a dictionary to keep."""
LONGEST = 4000
"""Characters of a text that are looked at, as its embedding looks at them."""
_TOKEN = re.compile(r"[a-z]+|\d|[^\sa-z\d]")


@dataclass(frozen=True, slots=True)
class Words:
    """How rare each word is (Spärck Jones, 1972): shape (SIZE,). A word of fewer than two texts says nothing, and has 0."""

    rarity: NDArray[np.float32]

    def at(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows, shape (texts, SIZE): their products are cosines. Zeros for a text without a known word."""
        found = np.zeros((len(texts), SIZE), dtype=np.float32)
        for row, text in enumerate(texts):
            places, counts = _counted(text[:LONGEST])
            found[row, places] = (1 + np.log(counts)) * self.rarity[places]
        length = np.linalg.norm(found, axis=1, keepdims=True)
        found /= np.where(length > 0, length, 1)
        return found


def learnt(texts: Sequence[str]) -> Words:
    """The rarity of words in these texts."""
    having = np.zeros(SIZE)
    for text in texts:
        having[_counted(text[:LONGEST])[0]] += 1
    rarity = np.where(having > 1, np.log((len(texts) + 1) / np.maximum(having, 1)), 0.0)
    return Words(rarity.astype(np.float32))


@lru_cache(maxsize=4096)
def _counted(text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(places, counts) of the words of a text; kept, as folds and splits ask for the same texts again."""
    found = Counter(zlib.crc32(word.encode()) % SIZE for word in _TOKEN.findall(text.lower()))
    return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.float32)
