"""Asking a running gateway, for the commands that only read. Plain HTTP: these commands need no client's retries or streams."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from fw_gateway.cli.output import USAGE, Fail
from fw_gateway.config import environment, gateway_url

_TIMEOUT = 10.0


class Absent(Exception):
    """No gateway answers at that address."""


def get(path: str, *, timeout: float = _TIMEOUT) -> tuple[int, dict[str, Any]]:
    """GET a path of the gateway at `FW_URL`: (status, JSON body; `{}` when it is not JSON).

    Raises:
        Absent: nothing answers there.
    """
    url, headers = _address()
    request = urllib.request.Request(url + path, headers=headers)  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, _json(fault.read())
    except (urllib.error.URLError, OSError, TimeoutError) as fault:
        raise Absent(f"no gateway answers at {url} ({getattr(fault, 'reason', fault)})") from None


def _address() -> tuple[str, dict[str, str]]:
    env = environment()
    url = gateway_url(env)
    if not url.startswith(("http://", "https://")):
        raise Fail(f"FW_URL is not an http(s) url: {url!r}.", code=USAGE)
    headers = {"accept": "application/json"}
    if env.get("FW_API_KEY"):
        headers["authorization"] = f"Bearer {env['FW_API_KEY']}"
    return url, headers


def events(
    path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, timeout: float
) -> Iterator[tuple[str, str]]:
    """POST and read a stream of server-sent events: ("data", text) for each event, ("comment", text) for each comment.

    Raises:
        Absent: nothing answers there, or the connection broke.
        Fail: the gateway refused; with its own message.
    """
    url, usual = _address()
    every = {**usual, "content-type": "application/json", "accept": "text/event-stream", **headers}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), every)  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            for raw in answer:
                line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
                if line.startswith("data:"):
                    yield "data", line.removeprefix("data:").lstrip()
                elif line.startswith(":"):
                    yield "comment", line.removeprefix(":").strip()
    except urllib.error.HTTPError as fault:
        with fault:
            error = _json(fault.read()).get("error")
            message = error.get("message") if isinstance(error, dict) else None
            raise Fail(str(message or f"the gateway answered {fault.code}.")) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as fault:
        raise Absent(f"no gateway answers at {url} ({getattr(fault, 'reason', fault)})") from None


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
