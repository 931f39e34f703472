"""The model's file, made or found; the command line as a user has it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
def fw(tmp_path: Path) -> Run:
    """Runs `fw` in an empty folder, without a terminal."""

    def run(*argv: str, timeout: float = 60.0, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FW_")}
        return subprocess.run(
            [sys.executable, "-m", "fw_gateway", *argv],
            cwd=tmp_path,
            env={**clean, "FW_STATE_DIR": str(tmp_path / "state"), **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
