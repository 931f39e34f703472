"""`POST /v1/outcomes`: what became of a run, a step or a decision."""

from fwsdk.types.base import Wire


class OutcomeReport(Wire):
    """Named measurements of one thing. The same `key` twice is stored once."""

    outcomes: dict[str, bool | float]
    run: str | None = None
    decision: str | None = None
    step: str | None = None
    agent: str | None = None
    source: str | None = None
    version: str | None = None
    key: str | None = None


class OutcomeReceipt(Wire):
    """How many were stored, and whether this report had been seen before."""

    stored: int = 0
    duplicate: bool = False
