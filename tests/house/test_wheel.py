"""What is shipped, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = {"fwsdk", "fw_policies", "fw_gateway", "fw_agents"}


def build(source: Path, target: Path) -> list[str]:
    """Build the wheel from `source` and list its files."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=100)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def shipped(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files in the wheel of this checkout."""
    return build(root, tmp_path_factory.mktemp("wheel"))


def tops(names: list[str]) -> set[str]:
    """Top-level names that an installation would claim, besides its own metadata."""
    return {top for name in names if not (top := name.split("/")[0]).endswith(".dist-info")}


def test_the_wheel_claims_exactly_four_names(shipped: list[str]) -> None:
    """`agents`, `gateway` and `policies` belong to other people."""
    assert tops(shipped) == PACKAGES


def test_tests_and_examples_never_ship(shipped: list[str]) -> None:
    """Nor does anything that only builds or measures."""
    assert [name for name in shipped if "tests/" in name or "examples/" in name or "conftest" in name] == []


def test_everything_that_git_knows_in_the_packages_ships(shipped: list[str], root: Path) -> None:
    """Policies, catalog data and py.typed are in the wheel, not only Python files."""
    folders = {"fwsdk": "fwsdk", "fw_policies": "policies", "fw_gateway": "gateway", "fw_agents": "agents"}
    wanted = set()
    for package, folder in folders.items():
        base = root if folder == package else root / folder
        for path in (base / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                wanted.add(path.relative_to(base).as_posix())
    assert wanted - set(shipped) == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(shipped)
    assert [name for name in shipped if name.startswith("fw_policies/builtin/") and name.endswith(".yaml")]


def test_the_licence_and_the_commands_are_in_the_metadata(shipped: list[str]) -> None:
    """A user of the wheel finds the licence, and pip finds `fw`."""
    assert [name for name in shipped if name.endswith(".dist-info/licenses/LICENSE")]
    assert [name for name in shipped if name.endswith(".dist-info/entry_points.txt")]


def test_a_package_planted_in_the_settings_is_seen(copy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Were the outer folder made a package of the wheel, the first test above would fail."""
    tree = copy()
    (tree / "agents" / "__init__.py").write_text("")
    pyproject = tree / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"agents/fw_agents"]', '"agents"]'))
    assert "agents" in tops(build(tree, tmp_path / "out"))
