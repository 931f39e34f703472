"""The client's own check of an answer: it runs here, and its verdict goes to the gateway, which goes on with its plan."""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fwsdk._pipeline import Deadline, within
from fwsdk._scope import SCOPE
from fwsdk.transport import Request

if TYPE_CHECKING:
    from fwsdk._reply import Reply

Check = Callable[["Reply"], "bool | Awaitable[bool]"]
ASKS = "x-fw-verify"
"""On a request: this client runs a check, whichever its step names. On an answer: the check it is asked to run."""
FAILED = "x-fw-verify-failed"
"""On an answer: it did not pass this check, and nothing was left to try."""
DECLARED = {ASKS: "*"}


def asked(headers: Mapping[str, str]) -> bool:
    """Whether an answer waits for a verdict."""
    return ASKS in headers


async def run(check: Check, reply: "Reply", deadline: Deadline) -> bool:
    """The check's verdict. A plain function runs in a thread, so that it may wait, and calls made within are not checked themselves.

    Raises:
        DeadlineExceeded: it took too long.
    """
    token = SCOPE.set(replace(SCOPE.get(), verify=None))
    try:
        async with within(deadline):
            found = await asyncio.to_thread(check, reply)
            return bool(await found if inspect.isawaitable(found) else found)
    finally:
        SCOPE.reset(token)


def verdict(headers: Mapping[str, str], sent: Mapping[str, str], *, accept: bool) -> Request:
    """The request that says what the check said of the answer with these `headers`; rejected, the next answer comes back.

    `sent` are the headers of the call itself.
    """
    body = {"accept": accept, "attempt": int(headers.get("x-fw-attempt", "1"))}
    path = f"/v1/decisions/{headers.get('x-fw-decision-id', '')}/verdict"
    kept = {name: value for name, value in sent.items() if name in {"traceparent", "tracestate", "accept"}}
    return Request("POST", path, {**kept, "content-type": "application/json"}, json.dumps(body).encode())


def said(headers: Mapping[str, str]) -> bool | None:
    """Whether a final answer passed, as its headers have it: False when they say that it did not, None when they say nothing."""
    return False if FAILED in headers else None
