"""Asking a running gateway, for the commands that only read. Plain HTTP: these commands need no client's retries or streams."""

import json
import urllib.error
import urllib.request
from typing import Any

from fw_gateway.cli.output import Fail
from fw_gateway.config import environment, gateway_url

_TIMEOUT = 10.0


class Absent(Exception):
    """No gateway answers at that address."""


def get(path: str, *, timeout: float = _TIMEOUT) -> tuple[int, dict[str, Any]]:
    """GET a path of the gateway at `FW_URL`: (status, JSON body; `{}` when it is not JSON).

    Raises:
        Absent: nothing answers there.
    """
    env = environment()
    url = gateway_url(env)
    if not url.startswith(("http://", "https://")):
        raise Fail(f"FW_URL is not an http(s) url: {url!r}.", code=2)
    headers = {"accept": "application/json"}
    if env.get("FW_API_KEY"):
        headers["authorization"] = f"Bearer {env['FW_API_KEY']}"
    request = urllib.request.Request(url + path, headers=headers)  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, _json(fault.read())
    except (urllib.error.URLError, OSError, TimeoutError) as fault:
        raise Absent(f"no gateway answers at {url} ({getattr(fault, 'reason', fault)})") from None


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
