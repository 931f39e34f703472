"""The house rules that no tool knows: sizes, imports, names. Each is seen failing on a planted violation."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fwsdk

FILE_LINES = 500
FUNCTION_LINES = 60
CLASS_LINES = 300
PUBLIC_NAMES = 35
PACKAGES = ("fwsdk", "policies/fw_policies", "gateway/fw_gateway", "agents/fw_agents")
CODE = (*PACKAGES, "tests", "examples")
OUTER = ("policies", "gateway", "agents")

LAZY = {
    # Heavy extras: what starts quickly must not pay for them.
    "litellm": "thirty megabytes, several seconds",
    "xllamacpp": "the engine itself; only the child process that runs it loads it",
    "uvloop": "absent on some systems",
    "opentelemetry": "the SDK and its exporters; the API alone is light",
    "jsonschema": "only for the checks of a policy that asks for them",
    "referencing": "as jsonschema",
    "numpy": "offline commands, and the vectors of the text embedding where a lock or the config asks for them",
    "genai_prices": "used to compile the price table, then no more",
    "ruamel": "used once, to read the config",
    "rich": "only where something is printed for people",
    "typer": "only in the command line",
    "langgraph": "an extra of the agents",
    "langchain_core": "an extra of the agents",
    "langchain_openai": "an extra of the agents",
    "huggingface_hub": "only where it happens to be installed",
}
"""Top-level names that may be imported inside a function, and why."""

LAZY_AT = {
    "gateway/fw_gateway/cli/*.py": ("fw_gateway", "fwsdk", "fw_policies", "asyncio", "aiohttp"),
    "gateway/fw_gateway/cli.py": ("fw_gateway", "fwsdk", "fw_policies", "asyncio", "aiohttp"),
    "agents/fw_agents/cli.py": ("fw_agents", "fwsdk"),
}
"""Places that may import our own modules late: a command loads what it needs and nothing else."""


def sources(root: Path) -> Iterator[tuple[str, str]]:
    """Every Python file of ours: its path from the root, its text."""
    for folder in CODE:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text()


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").split(".")[0]]
    return [name.name.split(".")[0] for name in node.names]


def _late_imports(name: str, function: ast.AST) -> Iterator[str]:
    allowed = {top for pattern, tops in LAZY_AT.items() if Path(name).match(pattern) for top in tops} | LAZY.keys()
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for top in _imported(node):
                if top not in allowed:
                    yield f"{name}:{node.lineno} imports {top} inside a function; move it to the top of the file"


def violations(name: str, text: str) -> list[str]:
    """What one file does against the rules of the house."""
    found: list[str] = []
    length = text.count("\n")
    if length > FILE_LINES:
        found.append(f"{name} has {length} lines, {FILE_LINES} are allowed; split it")
    packaged = name.startswith(PACKAGES)
    for node in ast.walk(ast.parse(text, name)):
        if isinstance(node, ast.Global):
            found.append(f"{name}:{node.lineno} says global; give the value an owner")
        elif isinstance(node, ast.ClassDef) and _lines(node) > CLASS_LINES:
            found.append(f"{name}:{node.lineno} class {node.name} has {_lines(node)} lines, {CLASS_LINES} are allowed")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if _lines(node) > FUNCTION_LINES:
                found.append(f"{name}:{node.lineno} {node.name} has {_lines(node)} lines, {FUNCTION_LINES} are allowed")
            if packaged:
                found.extend(_late_imports(name, node))
    return sorted(set(found))


def test_every_file_keeps_the_rules(root: Path) -> None:
    """No file, class or function is too long, nothing is global, and imports stand at the top."""
    found = [line for name, text in sources(root) for line in violations(name, text)]
    assert not found, "\n".join(found)


def test_the_rules_look_at_all_code(root: Path) -> None:
    """Each of the folders is really walked."""
    seen = {name.split("/")[0] for name, _ in sources(root)}
    assert seen >= {"fwsdk", "policies", "gateway", "agents", "tests"}


PLANTED = {
    "a long file": ("fwsdk/x.py", "x = 1\n" * 501, "501 lines"),
    "a long function": ("fwsdk/x.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
    "a long async function": ("tests/x.py", "async def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
    "a long class": ("fwsdk/x.py", "class C:\n" + "    x = 1\n" * 300, "class C has 301 lines"),
    "a global": ("fwsdk/x.py", "def f():\n    global x\n    x = 1\n", "says global"),
    "a late import": ("policies/fw_policies/x.py", "def f():\n    import json\n", "imports json inside a function"),
    "a late import from": (
        "gateway/fw_gateway/x.py",
        "class C:\n    def f(self):\n        from json import loads\n",
        "imports json inside a function",
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_seen(name: str, text: str, message: str) -> None:
    """The checker names the file and what is wrong with it."""
    found = violations(name, text)
    assert len(found) == 1
    assert message in found[0]
    assert name in found[0]


def test_what_is_just_within_the_rules_passes() -> None:
    """The limits are inclusive, and a heavy extra may come late."""
    body = "    x = 1\n"
    text = "def f():\n" + body * 59 + "class C:\n" + body * 299 + "def g():\n    import litellm\n"
    assert violations("fwsdk/x.py", text) == []


def test_the_sdk_has_at_most_35_public_names() -> None:
    """What a user must learn fits on one screen, and every name exists."""
    assert len(fwsdk.__all__) <= PUBLIC_NAMES
    assert len(set(fwsdk.__all__)) == len(fwsdk.__all__)
    assert [name for name in fwsdk.__all__ if not hasattr(fwsdk, name)] == []


@pytest.mark.parametrize("folder", OUTER)
def test_the_outer_folders_are_no_packages(root: Path, folder: str) -> None:
    """A top-level `agents/__init__.py` would overwrite another distribution's `agents` and shadow it from a checkout."""
    assert not (root / folder / "__init__.py").exists()
    assert (root / folder / f"fw_{folder}" / "__init__.py").exists()
    assert (root / folder / f"fw_{folder}" / "py.typed").exists()


def test_importing_the_sdk_imports_no_telemetry_sdk_and_no_gateway() -> None:
    """A fresh interpreter that imports fwsdk has loaded the OpenTelemetry API alone."""
    script = (
        "import sys, fwsdk\n"
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter', 'fw_gateway', 'fw_policies', 'fw_agents', 'numpy', 'openai', 'sqlite3')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_planted_import_of_the_telemetry_sdk_is_seen(tmp_path: Path) -> None:
    """The check above would say so: a copy of the SDK that imports it is caught."""
    package = tmp_path / "fwsdk"
    package.mkdir()
    (package / "__init__.py").write_text("import opentelemetry.sdk.trace\n")
    script = "import sys, fwsdk; print('opentelemetry.sdk' in sys.modules, fwsdk.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.split() == ["True", str(package / "__init__.py")]
