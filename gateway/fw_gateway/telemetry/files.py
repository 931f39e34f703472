"""Lines appended to a file that several processes share, rotated by size, without a line lost or cut in two."""

import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

else:  # pragma: no cover - no advisory locks: one writer a file

    def _lock(_descriptor: int) -> None:
        return

    def _unlock(_descriptor: int) -> None:
        return


ROTATE_AT = 64 * 1024 * 1024
"""Bytes after which a file is moved to `<name>.1` and begun anew."""


class LineFile:
    """Appends whole lines with one write under a lock. Opened at the first write; readable by its owner alone.

    Rotation moves the file aside while its lock is held. A writer that waited for that lock finds that the name now belongs
    to another file (another inode), opens that one and tries again; so two writers rotate once and lose nothing.
    """

    def __init__(self, path: str | Path, *, rotate_at: int = ROTATE_AT) -> None:
        """`rotate_at` is in bytes."""
        self.path = Path(path)
        self._rotate_at = rotate_at
        self._descriptor: int | None = None

    def append(self, lines: bytes | memoryview) -> None:
        """Write complete lines, all of them or none.

        Raises:
            OSError: the file cannot be opened, or the disk is full; nothing of `lines` is left behind.
        """
        descriptor = self._locked(len(lines))
        try:
            self._write(descriptor, lines)
        finally:
            _unlock(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def _locked(self, size: int) -> int:
        """The locked descriptor of the file that has the name now, rotated when `size` more bytes would be too many."""
        while True:
            descriptor = self._open()
            _lock(descriptor)
            ours = os.fstat(descriptor)
            if not stat.S_ISREG(ours.st_mode):
                return descriptor  # a pipe or a terminal does not rotate
            try:
                named = os.stat(self.path)
            except FileNotFoundError:
                self.close()  # closing unlocks
                continue
            if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino):
                self.close()
                continue
            if ours.st_size == 0 or ours.st_size + size <= self._rotate_at:
                return descriptor
            os.replace(self.path, f"{self.path}.1")
            self.close()

    def _write(self, descriptor: int, lines: bytes | memoryview) -> None:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        before = os.fstat(descriptor).st_size if regular else 0
        written = 0
        try:
            while written < len(lines):
                written += os.write(descriptor, lines[written:] if written else lines)
        except OSError:
            if regular and written:
                os.ftruncate(descriptor, before)  # half a line would spoil the next one too
            raise
