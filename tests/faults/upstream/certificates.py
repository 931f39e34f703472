"""Certificates for the TLS ports, made at start with the `openssl` command."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"
_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority, and what it signed. `authority` is what a client must trust."""

    authority: Path
    good: ssl.SSLContext
    expired: ssl.SSLContext
    stranger: ssl.SSLContext
    """Signed by nobody that a client knows."""


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _context(folder: Path, name: str) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return found


def _signed(folder: Path, name: str, days: str) -> ssl.SSLContext:
    _openssl(folder, "req", *_NEW, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=localhost")
    signing = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names.cnf")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-days", days, "-out", f"{name}.pem")
    return _context(folder, name)


def make(folder: Path) -> Certificates | None:
    """The certificates; None where there is no `openssl`."""
    if shutil.which("openssl") is None:
        return None
    (folder / "names.cnf").write_text(_NAMES)
    own = ("req", "-x509", *_NEW, "-days", "2")
    _openssl(folder, *own, "-keyout", "authority.key", "-out", "authority.pem", "-subj", "/CN=fx authority")
    _openssl(
        folder, *own, "-keyout", "stranger.key", "-out", "stranger.pem", "-subj", "/CN=localhost", "-addext", _NAMES
    )
    return Certificates(
        folder / "authority.pem",
        _signed(folder, "good", "2"),
        _signed(folder, "expired", "-1"),
        _context(folder, "stranger"),
    )
