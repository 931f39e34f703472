"""What somebody outside can make us log, at most once a second: a scanner must not fill the disk."""

import logging

from fw_gateway import clock

EVERY = 1.0
"""Seconds between two lines of one kind."""
KINDS = 256
"""Kinds that are told apart; more are forgotten together."""


class Sparing(logging.Filter):
    """One line a second of each kind, which says how many were left out since the last."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        super().__init__()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it."""
        fault = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        kind = f"{record.msg} {fault.__name__ if fault is not None else ''}"
        now = clock.monotonic()
        since, left_out = self._said.get(kind, (-EVERY, 0))
        if now - since < EVERY:
            self._said[kind] = since, left_out + 1
            return False
        if len(self._said) >= KINDS:
            self._said.clear()
        self._said[kind] = now, 0
        if left_out:
            record.msg = f"{record.msg} (and {left_out} more like it)"
        return True
