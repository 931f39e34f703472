"""A process tree as the system sees it: memory, processor time, descriptors."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """The process and everything it started."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def rss(pid: int) -> int:
    """Resident bytes of the tree."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE
    return total


def cpu(pid: int) -> float:
    """Processor seconds of the tree so far, of threads that live."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


async def quiet(pid: int, seconds: float = 2.0) -> None:
    """Return when the tree rests (what earlier requests left to do is done, and is not counted with the next one), or when time is over."""
    end, before = time.monotonic() + seconds, cpu(pid)
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
        now = cpu(pid)
        if now - before < 0.001:
            return
        before = now


def descriptors(pid: int) -> int:
    """Open descriptors of the tree."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            total += len(os.listdir(f"/proc/{one}/fd"))
    return total


class Peak:
    """The largest memory of a process tree while a block runs; polled by `watch`."""

    def __init__(self, pid: int) -> None:
        """Begins with what there is now."""
        self._pid = pid
        self.base = self.top = rss(pid)
        self.began = time.monotonic()

    def look(self) -> int:
        """Take a sample; bytes above the beginning at the highest point so far."""
        self.top = max(self.top, rss(self._pid))
        return self.top - self.base
