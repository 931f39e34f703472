"""The model's file, made or found; the command line as a user has it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fw_gateway import cli
from fw_gateway.providers.local import have

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model. Fetched by the command that users have; a test process itself may not leave the machine."""
    found = have("smollm2")
    if found is None:
        command = [sys.executable, "-m", "fw_gateway", "model", "pull", "smollm2"]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
        found = have("smollm2")
    assert found is not None
    return found


@pytest.fixture
def fw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `fw` in an empty folder, without a terminal: `up` in a process of its own, the rest in this one, which is 1 s faster."""

    def run(*argv: str, timeout: float = 60.0, **env: str) -> subprocess.CompletedProcess[str]:
        settings = {"FW_STATE_DIR": str(tmp_path / "state"), **env}
        if argv[0] == "up":
            return apart(tmp_path, *argv, timeout=timeout, **settings)
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name, value in settings.items():
                patch.setenv(name, value)
            capsys.readouterr()
            code = cli.run(list(argv))
            out, err = capsys.readouterr()
        return subprocess.CompletedProcess(argv, code, out, err)

    return run


def apart(folder: Path, *argv: str, timeout: float = 60.0, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `fw` as users do: a process, its output in pipes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FW_")}
    command = [sys.executable, "-m", "fw_gateway", *argv]
    return subprocess.run(
        command, cwd=folder, env={**clean, **env}, capture_output=True, text=True, timeout=timeout, check=False
    )
