"""The README is true: its programs run, its commands exist, its config is accepted, its policy is a policy."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import Server, gateway_process

BIN = Path(sys.executable).parent
PAGES = ("README.md", "CONTRIBUTING.md")


def blocks(root: Path, kind: str, page: str = "README.md") -> list[str]:
    """The fenced blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", (root / page).read_text(), re.MULTILINE | re.DOTALL)


def fw(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command of the command line."""
    done = subprocess.run(
        [str(BIN / "fw"), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`fw up` with no config, as the README starts it."""
    with gateway_process(tmp_path_factory.mktemp("readme"), None) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_its_python_programs_run(number: int, root: Path, gateway: Server, tmp_path: Path) -> None:
    """Each, as it stands but for the port, ends well and prints what it found."""
    programs = blocks(root, "python")
    assert len(programs) == 3
    program = tmp_path / "program.py"
    program.write_text(programs[number].replace("http://127.0.0.1:8400", gateway.root))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "FW_URL": gateway.root, "FW_API_KEY": "any"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if number == 0:
        assert "plan" in done.stdout
        assert "edit" in done.stdout
        assert "$" in done.stdout


@pytest.mark.slow
def test_its_curl_line_runs(root: Path, gateway: Server) -> None:
    """The body and headers of the example get an answer."""
    (line,) = [block for block in blocks(root, "sh") if "curl" in block]
    headers = dict(found.split(": ", 1) for found in re.findall(r"-H '([^']+)'", line))
    (body,) = re.findall(r"-d '([^']+)'", line)
    script = (
        "import json, sys, urllib.request as u\n"
        "request = u.Request(sys.argv[1], sys.argv[2].encode(), json.loads(sys.argv[3]))\n"
        "print(u.urlopen(request, timeout=90).read().decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{gateway.url}/chat/completions", body, json.dumps(headers)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"choices"' in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_make_targets_it_names_exist(page: str, root: Path) -> None:
    """A target that is named is in the Makefile."""
    known = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", (root / page).read_text(), re.MULTILINE))
    targets = {target for pair in named for target in pair if target}
    assert targets
    assert targets <= known


def test_the_commands_it_names_exist(root: Path, tmp_path: Path) -> None:
    """Each `fw ...` that the README shows has a help page."""
    text = (root / "README.md").read_text()
    named = set(re.findall(r"(?:^|`|; `)fw ((?:model|policy|trace|config|bench) [a-z-]+|[a-z]+)", text, re.MULTILINE))
    assert {"up", "doctor", "policy list", "trace show", "config check", "explain"} <= named
    for words in sorted(named - {"demo"}):
        status, said = fw(tmp_path, *words.split(), "--help")
        assert status == 0, f"fw {words}: {said}"


def test_its_config_is_accepted(root: Path, tmp_path: Path) -> None:
    """The YAML block passes `fw config check`."""
    (text,) = blocks(root, "yaml")
    (tmp_path / "fw.yaml").write_text(text)
    status, said = fw(tmp_path, "config", "check", "-c", "fw.yaml")
    assert status == 0, said


def test_its_policy_is_a_policy(root: Path, tmp_path: Path) -> None:
    """The policy block passes `fw policy check`."""
    (text,) = [block for block in blocks(root, "text") if block.startswith("policy:")]
    (tmp_path / "mine.yaml").write_text(text)
    status, said = fw(tmp_path, "policy", "check", "mine.yaml")
    assert status == 0, said


def test_the_pages_it_points_to_exist(root: Path) -> None:
    """No link into nothing."""
    for page in PAGES:
        for name in re.findall(r"`((?:docs/[a-z-]+|[A-Z]+)\.md)`", (root / page).read_text()):
            assert (root / name).is_file(), f"{page} names {name}"
