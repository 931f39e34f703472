"""Work in turns: `fw_gateway.turns`."""

import pytest

from fw_gateway.turns import turns


@pytest.mark.parametrize(
    ("count", "pieces", "rests"), [(0, [], 0), (1, [[0]], 0), (3, [[0, 1, 2]], 0), (7, [[0, 1, 2], [3, 4, 5], [6]], 2)]
)
def test_there_is_a_rest_between_two_turns(count: int, pieces: list[list[int]], rests: int) -> None:
    """None before the first, and none after the last."""
    rested: list[int] = []
    assert list(turns(list(range(count)), 3, lambda: rested.append(1))) == pieces
    assert len(rested) == rests


def test_without_a_rest_all_is_one_turn() -> None:
    """What nobody waits for is done at once."""
    assert list(turns([1, 2, 3], 2, None)) == [[1, 2, 3]]
