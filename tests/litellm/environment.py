"""Makes the environment that the litellm bridge's process runs in: packages from its own lock. Does nothing the second time."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "litellm.txt"
READY = ".fw-ready"


def cache() -> Path:
    """The folder that outlives a clone, or one inside the checkout when that cannot be written."""
    wanted = Path(os.environ.get("FW_CACHE") or Path.home() / ".cache" / "fw")
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError:
        return ROOT / ".cache"


def folder() -> Path:
    """Where this lock's environment is, or will be."""
    return cache() / f"litellm-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"


def main() -> int:
    """Make it, once."""
    target = folder()
    if (target / READY).exists():
        print(f"litellm is ready in {target}")
        return 0
    print(f"== installing litellm into {target}", flush=True)
    uv = str(Path(sys.executable).parent / "uv")
    # The interpreter behind .venv: an environment of an environment would die with it.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", str(base), str(target)], check=True)
    options = [
        "--quiet",
        "--python",
        str(target / "bin" / "python"),
        "--no-deps",
        "--require-hashes",
        "--compile-bytecode",
    ]
    subprocess.run([uv, "pip", "install", *options, "-r", str(LOCK)], check=True)
    (target / READY).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
