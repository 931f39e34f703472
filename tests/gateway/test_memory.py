"""What was freed is given back."""

import ctypes
import platform
import subprocess
import sys

import pytest

from fw_gateway import memory

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
given = memory.give_back()
print(full, holed, resident(), int(given), len(kept))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to give memory back")
def test_holes_between_what_lives_go_back_to_the_system() -> None:
    """32 MB in pieces, one in fifty of which stays: freeing gives little back, asking for it nearly all."""
    out = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, timeout=60).stdout
    full, holed, after, given, _ = map(int, out.split())
    assert full - holed < 16 * 2**20
    assert given
    assert holed - after > 12 * 2**20


def test_where_there_is_no_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anything fail."""

    def missing(_: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", missing)
    memory._glibc.cache_clear()
    try:
        assert not memory.give_back()
    finally:
        memory._glibc.cache_clear()
