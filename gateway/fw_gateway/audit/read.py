"""Files of any known format to rows: which format it is, and what could not be read."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from fw_gateway.audit import langfuse, litellm, otel, own, stream
from fw_gateway.audit.rows import BadRow, Row
from fw_gateway.audit.stream import Progress

LOOKED = 50
"""Records that are looked at before a file is given up as unknown."""
SHOWN = 12
"""Names of fields in a message."""


class UnknownFormat(Exception):
    """No reader knows the file. The message says what was seen; `hint` what would be known."""

    hint = "Known: LiteLLM spend logs, Langfuse observations and scores, OpenTelemetry GenAI spans, and our own ledger.sqlite and traces.jsonl."


@dataclass(slots=True)
class Reading:
    """What reading has met so far."""

    formats: list[str] = field(default_factory=list)
    records: int = 0
    problems: Counter[str] = field(default_factory=Counter)

    def problem(self, kind: str) -> None:
        """Count what cannot be read."""
        self.problems[kind] += 1


def rows(path: Path, reading: Reading, progress: Progress) -> Iterator[Row]:
    """The rows of one file, as they are read.

    Raises:
        OSError: it cannot be read.
        UnknownFormat: no reader knows it.
    """
    with path.open("rb") as head:
        magic = head.read(len(own.MAGIC))
    if magic == own.MAGIC:
        reading.formats.append(own.NAME)
        try:
            for row in own.read(path):
                reading.records += 1
                yield row
        except sqlite3.Error as fault:
            raise UnknownFormat(f"{path.name} is a SQLite file, but no ledger of ours: {fault}.") from None
        return
    source = stream.records(path, reading.problem, progress)
    looked: list[Mapping[str, Any]] = []
    name = ""
    for record in source:
        looked.append(record)
        if (name := detect(record)) or len(looked) >= LOOKED:
            break
    if not name:
        raise UnknownFormat(_seen(path, looked, reading))
    reading.formats.append(name)
    yield from _parsed(chain(looked, source), name, reading)


def detect(record: Mapping[str, Any]) -> str:
    """The format of a record; empty: none that is known."""
    known = {litellm.NAME: litellm.fits, otel.NAME: otel.fits, langfuse.NAME: langfuse.fits}
    return next((name for name, fits in known.items() if fits(record)), "")


def _parsed(source: Iterator[Mapping[str, Any]], name: str, reading: Reading) -> Iterator[Row]:
    spans = otel.Reader()
    fits, read = {
        litellm.NAME: (litellm.fits, litellm.read),
        langfuse.NAME: (langfuse.fits, langfuse.read),
        otel.NAME: (otel.fits, spans.read),
    }[name]
    for record in source:
        reading.records += 1
        if not fits(record):
            reading.problem(f"a record that is not {name}'s")
            continue
        try:
            yield from read(record)
        except BadRow as fault:
            reading.problem(str(fault))
    yield from spans.rest()


def _seen(path: Path, looked: list[Mapping[str, Any]], reading: Reading) -> str:
    if looked:
        names = [str(name)[:40] for name in looked[0]]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return f"{path.name}: no known format. Its first record has: {', '.join(names[:SHOWN]) or 'nothing'}{more}."
    if reading.problems:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in reading.problems.most_common(3))
        return f"{path.name}: no record could be read ({kinds})."
    with path.open("rb") as file:
        blank = not file.read(1024).strip()
    return f"{path.name} is empty." if blank else f"{path.name} has no records."
