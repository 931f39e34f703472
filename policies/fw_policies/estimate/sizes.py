"""Sizes rounded up to a geometric grid, so that equal-sized requests have equal facts."""

import math

STEPS = 8
"""Steps per doubling; a size grows by less than 9.1 % (2^(1/8))."""


def quantise(tokens: int) -> int:
    """The next size on the grid from `tokens` up; 0 stays 0."""
    if tokens <= 0:
        return 0
    return math.floor(2 ** (math.ceil(math.log2(tokens) * STEPS - 1e-9) / STEPS) + 1e-9)
