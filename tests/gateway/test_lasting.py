"""What was made of an object lasts as long as the object."""

import gc

from fw_gateway.lasting import Lasting


class Thing:
    """Something that may be made twice and be equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    __hash__ = None  # type: ignore[assignment]


def test_it_is_made_once_for_an_object_and_forgotten_with_it() -> None:
    made: list[int] = []
    lasting = Lasting[Thing, int](lambda thing: made.append(1) or len(made))
    thing = Thing()
    assert (lasting[thing], lasting[thing], len(lasting)) == (1, 1, 1)
    del thing
    gc.collect()
    assert len(lasting) == 0


def test_equal_objects_are_not_the_same() -> None:
    lasting, one, other = Lasting[Thing, object](lambda thing: object()), Thing(), Thing()
    assert lasting[one] is not lasting[other]


def test_what_was_cleared_is_made_anew_and_outlives_no_one() -> None:
    lasting, one = Lasting[Thing, object](lambda thing: object()), Thing()
    first = lasting[one]
    lasting.clear()
    assert lasting[one] is not first
    del one
    gc.collect()
    assert len(lasting) == 0
