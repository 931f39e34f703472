"""Keys that come from files, and what makes a server's own key too weak to be seen from outside."""

import ipaddress
from pathlib import Path

from fw_gateway.config.model import Secret
from fw_gateway.config.reader import Wrong

_LAZY = ("changeme", "password", "secret", "test", "admin", "letmein", "12345", "demo", "apikey", "api-key")
NEW_KEY = "export FW_API_KEY=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')"


def read_secret(path: Path) -> Secret:
    """The key that a file holds.

    Raises:
        Wrong: it cannot be read, is empty, or every user of the machine may read it.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not text"
        raise Wrong(f"the key file {path} cannot be read: {reason}.") from None
    if mode & 0o007:
        raise Wrong(f"the key file {path} is open to every user of this machine.", f"Run `chmod 600 {path}`.")
    if not text or len(text.splitlines()) > 1:
        raise Wrong(f"the key file {path} must hold one line, the key.")
    return Secret(text)


def loopback(host: str) -> bool:
    """Whether a listener on `host` can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def weakness(key: str) -> str:
    """Why `key` is too easy to guess for a listener that others can reach; empty when it is good enough."""
    if len(key) < 20:
        return f"it has {len(key)} characters; at least 20 are needed"
    if len(set(key)) < 8:
        return "it repeats a few characters"
    if any(word in key.lower() for word in _LAZY) and len(key) < 32:
        return "it contains a word that is tried first"
    return ""
