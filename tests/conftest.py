"""What every test stands on: no network but loopback, no key of a real provider."""

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest_plugins = ["pytester", "real_servers"]

_LOCAL_NAMES = {"localhost", "ip6-localhost", ""}
_RESERVED_SUFFIX = ".invalid"
_KEPT = {"FW_CACHE", "FW_MODEL_DIR", "FW_LITELLM_PYTHON"}
_attempts: list[str] = []

# A key in the developer's shell must never turn a test into a paid call.
for _name in [name for name in os.environ if name.endswith("_API_KEY")]:
    del os.environ[_name]
# A developer's own telemetry settings and proxies must not change what a test sees.
for _name in [name for name in os.environ if name.startswith(("OTEL_", "FW_")) and name not in _KEPT]:
    del os.environ[_name]
for _name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(_name, None)


class NetworkBlocked(OSError):
    """A test reached for something that is not on this machine."""


def _is_local(host: object) -> bool:
    if host is None or host in _LOCAL_NAMES:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(what: str) -> None:
    _attempts.append(what)
    raise NetworkBlocked(f"tests may only talk to loopback, not to {what}; use a server on 127.0.0.1, port 0")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook sees every connect in this process, whichever library makes it."""
    if event in {"socket.connect", "socket.sendto"}:
        address = args[1]
        if isinstance(address, tuple) and not _is_local(address[0]):
            _refuse(f"{address[0]}:{address[1]}")
    elif event == "socket.getaddrinfo":
        host = args[0].decode() if isinstance(args[0], bytes) else args[0]
        if _is_local(host) or _is_address(str(host)):
            return
        if str(host).endswith(_RESERVED_SUFFIX):
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is a name that never resolves")
        _refuse(f"the name {host}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def loopback_only() -> Iterator[list[str]]:
    """Fails a test that tried to leave the machine, even when the code under test swallowed the error."""
    _attempts.clear()
    yield _attempts
    if _attempts:
        reached = ", ".join(_attempts)
        _attempts.clear()
        pytest.fail(f"tests may only talk to loopback; this one reached for {reached}", pytrace=False)
