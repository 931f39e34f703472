"""The durable memory of the gateway: one row per call, outcomes, statistics. A port, and SQLite behind it."""

from pathlib import Path
from typing import TYPE_CHECKING

from fw_gateway.ledger.features import features
from fw_gateway.ledger.port import Decision, Ledger, LedgerError, Report, Served, Stored, Trust
from fw_gateway.ledger.purses import Entry
from fw_gateway.ledger.sqlite import FILE, SqliteLedger

if TYPE_CHECKING:
    from fw_gateway.config import Config

__all__ = [
    "Decision",
    "Entry",
    "Ledger",
    "LedgerError",
    "Report",
    "Served",
    "SqliteLedger",
    "Stored",
    "Trust",
    "open_ledger",
]


def open_ledger(config: "Config") -> SqliteLedger:
    """The ledger in the state directory of `config`.

    Raises:
        LedgerError: it cannot be opened.
    """
    path = Path(config.server.state_dir) / FILE
    return SqliteLedger(path, texts=features) if config.telemetry.text_features else SqliteLedger(path)
