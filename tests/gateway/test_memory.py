"""What was freed is given back."""

import asyncio
import ctypes
import logging
import platform
import subprocess
import sys

import pytest

from fw_gateway import memory
from tests.gateway.conftest import until

HOLES = """
import re
from pathlib import Path
from fw_gateway import memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

found = [bytearray(8192) for _ in range(4000)]
kept = found[::50]  # what still lives stands between the holes
full = resident()
del found
holed = resident()
memory.give_back()
print(full, holed, resident(), len(kept))
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to give memory back")


@glibc
def test_holes_between_what_lives_go_back_to_the_system() -> None:
    """32 MB in pieces, one in fifty of which stays: freeing gives little back, asking for it nearly all."""
    out = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, timeout=60).stdout
    full, holed, after, _ = map(int, out.split())
    assert full - holed < 16 * 2**20
    assert holed - after > 12 * 2**20


@glibc
async def test_it_goes_on_when_there_can_be_no_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That is logged; the next time it is given back."""
    times = []

    async def threads(act: object) -> float:
        times.append(act)
        if len(times) == 1:
            raise RuntimeError("can't start new thread")
        return 0.0

    monkeypatch.setattr(asyncio, "to_thread", threads)
    with caplog.at_level(logging.WARNING, "fw.gateway"):
        task = asyncio.create_task(memory.keep_small(0.001))
        await until(lambda: len(times) >= 3)
    assert times == [memory.give_back] * len(times)
    assert [record.getMessage() for record in caplog.records] == [
        "freed memory was not given back: can't start new thread"
    ]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@glibc
async def test_what_takes_long_is_done_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part in 2,000 of the time, at most."""
    waits: list[float] = []

    async def slept(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(memory, "give_back", lambda: 0.1 if len(waits) == 1 else 0.001)
    monkeypatch.setattr(asyncio, "sleep", slept)
    with pytest.raises(asyncio.CancelledError):
        await memory.keep_small()
    assert waits == [10.0, 200.0, 10.0]


async def test_where_there_is_no_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anything fail, or go on for nothing."""

    def missing(_: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", missing)
    memory._libc.cache_clear()
    try:
        memory.give_back()
        await asyncio.wait_for(memory.keep_small(), 1.0)
    finally:
        memory._libc.cache_clear()


GROWN = """
import ctypes
import sys
from fw_gateway import memory

def end():
    return libc.sbrk(0)

libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
libc.sbrk.argtypes = [ctypes.c_ssize_t]
if sys.argv[1] == "apart":
    assert memory.keep_apart()
bytes(16 << 20)  # freed at once: glibc keeps blocks up to this size together from now on
before = end()
size = int(sys.argv[2])
kept = [bytes(size) for _ in range((8 << 20) // size)]
print(end() - before)
"""


@glibc
@pytest.mark.parametrize(
    ("how", "size", "least", "most"),
    [
        ("apart", 8 << 20, 0, 1 << 20),
        ("apart", memory.APART, 0, 1 << 20),
        ("apart", memory.APART // 2, 7 << 20, 10 << 20),
        ("left", 8 << 20, 7 << 20, 10 << 20),
    ],
)
def test_a_large_block_is_no_part_of_the_heap(how: str, size: int, least: int, most: int) -> None:
    """8 MiB in such blocks, whatever was freed before; smaller ones are within it, and all are in a process that does not ask for this."""
    command = [sys.executable, "-c", GROWN, how, str(size)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert least <= int(out.stdout) <= most
