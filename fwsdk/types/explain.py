"""`POST /v1/explain`, `GET /v1/decisions/{id}`, `GET /v1/runs/{id}`: text for people beside the mapping it was made from."""

from typing import Any

from fwsdk.types.base import Wire


class Explanation(Wire):
    """Why something is, or was, done the way it is. Prints as its text."""

    text: str = ""
    plan: dict[str, Any] | None = None
    """Of `POST /v1/explain`: what would be done."""
    decision: dict[str, Any] | None = None
    """Of a decision: estimates beside actuals."""
    run: dict[str, Any] | None = None
    """Of a run: its decisions as a tree."""

    def __str__(self) -> str:
        return self.text
