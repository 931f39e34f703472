"""Each tool that holds the house is seen failing on a planted violation, in a copy of the tree."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
Copy = Callable[..., Path]


def run(copy: Path, tool: str, *arguments: str) -> tuple[int, str]:
    """Run a tool in the copy, with the copy's packages before the installed ones."""
    done = subprocess.run(
        [str(BIN / tool), *arguments],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={
            "PATH": f"{BIN}:/usr/bin:/bin",
            "PYTHONPATH": ":".join(str(copy / part) for part in ("", "policies", "gateway", "agents")),
            "HOME": str(copy),
            "COLUMNS": "400",
        },
    )
    return done.returncode, done.stdout + done.stderr


RUFF = {
    "BLE001": "def f() -> None:\n    try:\n        print()\n    except Exception:\n        return\n",
    "C901": "def f(x: int) -> int:\n"
    + "".join(f"    if x == {n}:\n        return {n}\n" for n in range(13))
    + "    return 0\n",
    "PLR0913": "def f(a, b, c, d, /, e, f, g, h, i):\n    return a\n",
    "PLR0917": "def f(a, b, c, d, e):\n    return a\n",
    "TID252": "from . import flow\n",
    "TID251": "import time\n\nx = time.time()\n",
    "S311": "import secrets\nimport random as r\n\nx = r.random()\n",
    "T201": "print(1)\n",
    "RUF006": "import asyncio\n\n\nasync def f() -> None:\n    asyncio.create_task(f())\n",
    "ASYNC251": "import time\n\n\nasync def f() -> None:\n    time.sleep(1)\n",
    "D103": "def undocumented() -> None:\n    return\n",
    "DTZ005": "import datetime\n\nx = datetime.datetime.now()\n",
}


def lint(root: Path, tmp_path: Path, text: str) -> list[tuple[str, str]]:
    """(code, message) of everything the linter says about a planted module of the policies."""
    planted = tmp_path / "policies" / "fw_policies" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(text)
    (tmp_path / "pyproject.toml").write_text((root / "pyproject.toml").read_text())
    status, said = run(tmp_path, "ruff", "check", "--no-cache", "--output-format", "json", str(planted))
    assert status == 1, said
    return [(found["code"], found["message"]) for found in json.loads(said[: said.rindex("]") + 1])]


@pytest.mark.parametrize("code", RUFF)
def test_ruff_sees_a_planted(code: str, root: Path, tmp_path: Path) -> None:
    """The linter fails with this code."""
    assert code in {found for found, _ in lint(root, tmp_path, RUFF[code])}


BANNED = {
    "time.monotonic": "import time\n\nx = time.monotonic()\n",
    "os.environ": "import os\n\nx = os.environ\n",
    "os.getenv": 'import os\n\nx = os.getenv("X")\n',
    "uuid.uuid4": "import uuid\n\nx = uuid.uuid4()\n",
    "random": "import random\n",
    "asyncio.gather": "import asyncio\n\n\nasync def f() -> None:\n    await asyncio.gather()\n",
    "asyncio.wait_for": "import asyncio\n\n\nasync def f() -> None:\n    await asyncio.wait_for(f(), 1)\n",
    "asyncio.ensure_future": "import asyncio\n\n\nasync def f() -> None:\n    asyncio.ensure_future(f())\n",
    "datetime.datetime.now": "import datetime\n\nx = datetime.datetime.now(datetime.UTC)\n",
}


@pytest.mark.parametrize("name", BANNED)
def test_ruff_sees_a_banned_name_and_says_why(name: str, root: Path, tmp_path: Path) -> None:
    """Time, randomness, environment and ownerless tasks are refused outside their modules."""
    messages = [message for code, message in lint(root, tmp_path, BANNED[name]) if code == "TID251"]
    assert any(message.startswith(f"`{name}` is banned: ") for message in messages), messages


IMPORTS = {
    "Who may import whom": ("fwsdk/planted.py", "import fw_gateway\n"),
    "Policies are pure": ("policies/fw_policies/planted.py", "import os\n"),
    "Dialects are pure": ("gateway/fw_gateway/providers/dialects/planted.py", "import aiohttp\n"),
    "The SDK stays light": ("fwsdk/planted.py", "import sqlite3\n"),
    "Agents use the front door": ("agents/fw_agents/planted.py", "import fw_policies.model\n"),
    "One way through the gateway": ("gateway/fw_gateway/clock_planted.py", "X = 1\n"),
    "No cycles": ("fwsdk/planted/one.py", "import fwsdk.planted.two\n"),
}


@pytest.mark.slow
def test_the_import_contracts_are_kept(root: Path, tmp_path: Path) -> None:
    """The tree as it is breaks none."""
    status, said = run(root, "lint-imports", "--config", "pyproject.toml", "--cache-dir", str(tmp_path))
    assert status == 0, said
    assert "0 broken" in said


@pytest.mark.slow
def test_every_import_contract_is_seen_broken(copy: Copy) -> None:
    """One violation of each is planted; each is reported by name."""
    tree = copy()
    for path, text in IMPORTS.values():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "fwsdk/planted/two.py").write_text("import fwsdk.planted.one\n")
    (tree / "fwsdk/planted/__init__.py").write_text("")
    (tree / "fwsdk/planted.py").rename(tree / "fwsdk/planted_light.py")
    (tree / "fwsdk/planted_up.py").write_text(IMPORTS["Who may import whom"][1])
    dialects = tree / "gateway/fw_gateway/providers/dialects"
    (dialects / "__init__.py").touch()
    (dialects / "other_planted.py").write_text("import fw_gateway.providers.dialects.planted\n")
    status, said = run(tree, "lint-imports", "--no-cache")
    assert status == 1
    for name in (*IMPORTS, "Dialects do not know each other"):
        assert f"{name} BROKEN" in said, said


@pytest.mark.slow
def test_a_layer_that_is_jumped_upwards_is_seen(copy: Copy) -> None:
    """A low module of the gateway that imports a high one breaks the way through the gateway."""
    tree = copy()
    clock = tree / "gateway/fw_gateway/clock.py"
    clock.write_text(clock.read_text() + "\nimport fw_gateway.config\n")
    status, said = run(tree, "lint-imports", "--no-cache")
    assert status == 1, said
    assert "One way through the gateway BROKEN" in said, said
    assert "fw_gateway.clock" in said


TYPES = {
    "an untyped function": ("def f(x):\n    return x\n", "no-untyped-def"),
    "a wrong type": ('def f() -> int:\n    return "x"\n', "return-value"),
    "a bare ignore": ('x: int = "x"  # type: ignore\n', "ignore-without-code"),
    "a name that may not exist": (
        "def f(x: int) -> int:\n    if x:\n        y = 1\n    return y\n",
        "possibly-undefined",
    ),
}


@pytest.mark.slow
def test_mypy_sees_planted_type_errors(copy: Copy) -> None:
    """Strict, with the extra checks of the project."""
    tree = copy()
    for number, (text, _) in enumerate(TYPES.values()):
        (tree / f"policies/fw_policies/planted{number}.py").write_text(text)
    files = [f"policies/fw_policies/planted{number}.py" for number in range(len(TYPES))]
    status, said = run(tree, "mypy", *files)
    assert status == 1
    for _, code in TYPES.values():
        assert f"[{code}]" in said, said


@pytest.mark.slow
def test_pyright_sees_a_public_name_without_a_type(copy: Copy) -> None:
    """A user's editor would guess; the check refuses."""
    tree = copy()
    (tree / "fwsdk" / "planted.py").write_text("def public(x):\n    return x\n")
    status, said = run(tree, "pyright", "--verifytypes", "fwsdk", "--ignoreexternal")
    assert status == 1
    assert "fwsdk.planted.public" in said


def test_deptry_sees_what_is_used_and_not_declared(copy: Copy) -> None:
    """Declared is used, used is declared."""
    tree = copy()
    pyproject = tree / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text()
        .replace('    "orjson', '    "sniffio",\n    "orjson')
        .replace('    "genai-prices', '    # "')
    )
    (tree / "fwsdk" / "planted.py").write_text("import hypothesis\n")
    status, said = run(tree, "deptry", ".")
    assert status == 1
    assert "'hypothesis' imported but" in said
    assert "'sniffio' defined as a dependency but not used" in said


def test_vulture_sees_dead_code(copy: Copy) -> None:
    """Code that can never run, and names that nobody uses, are reported."""
    tree = copy("tests")
    (tree / "fwsdk" / "planted.py").write_text("import colorsys\n\n\ndef f() -> int:\n    return 1\n    f()\n")
    status, said = run(tree, "vulture")
    assert status == 3
    assert "unused import 'colorsys'" in said
    assert "unreachable code after 'return'" in said


def test_codespell_sees_a_typing_mistake(copy: Copy) -> None:
    """Prose and comments are spelt as the dictionary has them."""
    tree = copy()
    (tree / "fwsdk" / "planted.py").write_text("# rec" + "ieve the answer\n")
    status, said = run(tree, "codespell", "fwsdk")
    assert status == 65
    assert "receive" in said
