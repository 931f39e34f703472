"""Lines of several writers end up whole in one file, and rotation loses none."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fw_gateway.telemetry.files import LineFile

WRITER = """
import sys
from fw_gateway.telemetry.files import LineFile
path, name, count, rotate_at = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with LineFile(path, rotate_at=rotate_at) as file:
    for number in range(count):
        file.append(f"{name} {number} {'x' * 200}\\n".encode() * 3)
"""


def test_processes_that_append_together_cut_no_line(tmp_path: Path) -> None:
    """Three processes, 3,600 lines: every line is there once and whole."""
    path = tmp_path / "traces.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, "400", str(1 << 30)])
        for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = path.read_text().splitlines()
    assert len(lines) == 3600
    assert {line.split()[2] for line in lines} == {"x" * 200}


def test_writers_that_rotate_together_rotate_once(tmp_path: Path) -> None:
    """Two processes cross the limit a single time between them: the file and its `.1` hold every line exactly once."""
    path = tmp_path / "traces.jsonl"
    lines_each, size = 100, 3 * len(f"a 10 {'x' * 200}\n")
    limit = lines_each * size + 5 * size  # crossed once in 2 × 100 appends
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(lines_each), str(limit)])
        for name in ("a", "b")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    old, new = Path(f"{path}.1").read_text().splitlines(), path.read_text().splitlines()
    found = [tuple(line.split()[:2]) for line in old + new]
    assert sorted(found) == sorted(
        (name, str(number)) for name in "ab" for number in range(lines_each) for _ in range(3)
    )
    assert Path(f"{path}.1").stat().st_size <= limit


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """An operator's logrotate may take the file; the next line opens a new one."""
    path = tmp_path / "traces.jsonl"
    with LineFile(path) as file:
        file.append(b"one\n")
        path.rename(tmp_path / "taken")
        file.append(b"two\n")
    assert path.read_bytes() == b"two\n"


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Traces name agents, conversations and money."""
    with LineFile(tmp_path / "deep" / "traces.jsonl") as file:
        file.append(b"one\n")
    assert stat.S_IMODE((tmp_path / "deep" / "traces.jsonl").stat().st_mode) == 0o600


def test_a_line_larger_than_the_limit_is_written_to_a_fresh_file(tmp_path: Path) -> None:
    """Rotation never loops on a line that can never fit."""
    path = tmp_path / "traces.jsonl"
    with LineFile(path, rotate_at=10) as file:
        file.append(b"a" * 100 + b"\n")
        file.append(b"b" * 100 + b"\n")
    assert path.read_bytes() == b"b" * 100 + b"\n"
    assert Path(f"{path}.1").read_bytes() == b"a" * 100 + b"\n"


def test_half_a_line_is_taken_back_when_the_disk_is_full(tmp_path: Path) -> None:
    """A write that fails midway leaves the lines before it, and nothing else. The limit is the process's own file size limit."""
    script = """
import resource, signal, sys
from fw_gateway.telemetry.files import LineFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with LineFile(sys.argv[1]) as file:
    file.append(b"a" * 899 + b"\\n")
    try:
        file.append(b"b" * 500 + b"\\n")
    except OSError:
        print("full")
    file.append(b"c" * 50 + b"\\n")
"""
    path = tmp_path / "traces.jsonl"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "full\n"
    assert path.read_bytes() == b"a" * 899 + b"\n" + b"c" * 50 + b"\n"


def test_a_pipe_is_written_to_and_not_rotated() -> None:
    """FW_TRACES_FILE may be /dev/stdout."""
    reading, writing = os.pipe()
    try:
        with LineFile(f"/dev/fd/{writing}", rotate_at=4) as file:
            file.append(b"one\n")
            file.append(b"two\n")
        assert os.read(reading, 100) == b"one\ntwo\n"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    """Nothing is written and the caller is told."""
    with LineFile(tmp_path) as file, pytest.raises(IsADirectoryError):
        file.append(b"one\n")
