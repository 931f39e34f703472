"""The one form of a request's target and Host that every reader reads alike; anything else is refused before it is routed."""

import re
from collections.abc import Mapping

from aiohttp import web

from fw_gateway.errors import BadRequest

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PATH = re.compile(
    r"(?:/(?!\.{1,2}(?:[/?]|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2[EeFf]|5[Cc])[0-9A-Fa-f]{2})+)*/?(?:\?[\x21\x24-\x7e]*)?"
)
"""Segments that are neither empty nor dots and hide neither dots nor slashes, and a query."""


def check(request: web.Request) -> None:
    """Raise for a target or a Host that two readers could take for different things.

    Raises:
        BadRequest: what it is.
    """
    target = request.raw_path
    if not target.startswith("/"):
        raise BadRequest(f"The request target {target[:60]!a} is not a path.", hint="Send `/v1/...` and a Host.")
    if _PATH.fullmatch(target) is None:
        hint = "Send it without `//`, `.`, `..`, encoded dots or slashes, and with other odd characters encoded."
        raise BadRequest(f"The path {target[:60]!a} can be read in more than one way.", hint=hint)
    if not plain_host(request.headers):
        host = request.headers["Host"]
        raise BadRequest(f"The Host {host[:60]!a} is not a host and port.")


def plain_host(headers: Mapping[str, str]) -> bool:
    """Whether a Host, if there is one, is a host and port."""
    host = headers.get("Host")
    return host is None or _HOST.fullmatch(host) is not None
