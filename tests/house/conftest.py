"""The checkout itself as test data: its path, its files, and copies to plant violations in."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("fwsdk", "policies", "gateway", "agents")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return _ROOT


@pytest.fixture(scope="session")
def project_conftest() -> str:
    """The text of the conftest that every test stands on, without the real servers."""
    return (_ROOT / "tests" / "conftest.py").read_text().replace('"real_servers"', "")


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the packages and their settings, to plant violations in."""

    def make(*extra: str) -> Path:
        target = tmp_path / "copy"
        for name in (*_FOLDERS, *extra):
            shutil.copytree(_ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(_ROOT / name, target / name)
        return target

    return make
