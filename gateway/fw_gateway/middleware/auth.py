"""Who may come in: by the route that matched, never by the text of the path."""

import hmac

from aiohttp import web

from fw_gateway.config import Secret
from fw_gateway.errors import Unauthorized

OPEN = frozenset({"/livez", "/readyz"})
"""Routes that need no key."""


class Gate:
    """Checks the bearer key."""

    def __init__(self, key: Secret | None) -> None:
        """Without a key everybody is let in; the config allows that on loopback only."""
        self._key = key.reveal().encode() if key is not None else None

    def check(self, request: web.Request, route: str) -> str:
        """The id of the key that was used, for telemetry; never the key.

        Raises:
            Unauthorized: there is none, or it is another.
        """
        if self._key is None or route in OPEN:
            return ""
        given = request.headers.get("Authorization", "")
        scheme, _, token = given.partition(" ")
        if not given and (alone := request.headers.get("x-api-key")):  # as Anthropic's clients send it
            given, scheme, token = alone, "bearer", alone
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            token.strip().encode("utf-8", "surrogateescape"), self._key
        ):
            what = "The key is not this server's." if given else "This server needs a key."
            raise Unauthorized(what, hint="Send `Authorization: Bearer $FW_API_KEY`.")
        return "default"
