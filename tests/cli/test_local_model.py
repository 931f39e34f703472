"""The embedded model is a real llama.cpp, in a process that ends with its owner."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.providers.local import LocalModel, LocalModelError, process


def post(model: LocalModel, path: str, body: dict[str, Any], key: str | None = None) -> tuple[int, dict[str, Any]]:
    """One exchange with the model's own server."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key or model.key}"}
    request = urllib.request.Request(model.base_url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, json.loads(fault.read())


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return not Path(f"/proc/{pid}").exists()


def given(pid: int | None) -> tuple[bytes, bytes]:
    """The environment and the command line that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/cmdline").read_bytes()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


async def test_it_chats_by_key_and_ends_when_told(smollm2: Path) -> None:
    """A real completion, JSON by schema, 401 without the key, and no process left."""
    model = LocalModel("smollm2", 1)
    url = await model.start()
    try:
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        assert await model.start() == url
        pid = model.pid
        assert pid is not None
        ask = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 12}
        status, body = await asyncio.to_thread(post, model, "/chat/completions", ask)
        assert status == 200
        assert body["model"] == "smollm2"
        assert body["usage"]["completion_tokens"] > 0
        schema = {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        status, body = await asyncio.to_thread(
            post, model, "/chat/completions", {**ask, "max_tokens": 40, "response_format": wanted}
        )
        assert isinstance(json.loads(body["choices"][0]["message"]["content"])["n"], int)
        status, _ = await asyncio.to_thread(post, model, "/chat/completions", ask, "wrong")
        assert status == 401
    finally:
        await model.stop()
    assert gone(pid)
    await model.stop()


async def test_in_embedding_mode_it_embeds(smollm2: Path) -> None:
    """Mean pooling: one vector a text, equal texts equal vectors."""
    model = LocalModel("smollm2", embedding=True, context=2048)
    await model.start()
    try:
        status, body = await asyncio.to_thread(
            post, model, "/embeddings", {"model": "smollm2", "input": ["a cat", "a cat", "ships"]}
        )
    finally:
        await model.stop()
    assert status == 200
    first, second, third = [item["embedding"] for item in body["data"]]
    assert len(first) == 576
    assert first == pytest.approx(second, abs=1e-3)
    assert first != pytest.approx(third, abs=1e-3)


OWNER = """
import asyncio, sys
from fw_gateway.providers.local import LocalModel

async def main():
    model = LocalModel("smollm2", context=1024, parallel=1)
    await model.start()
    print(model.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_dies_with_its_owner_even_by_sigkill(smollm2: Path) -> None:
    """Nobody is left to clean up, and nothing has to be."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not gone(pid)
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
        assert until(lambda: gone(pid))


async def test_ctrl_c_in_a_terminal_does_not_reach_it(smollm2: Path) -> None:
    """It has a process group of its own, so that a drain can finish what is under way."""
    model = LocalModel("smollm2", context=1024, parallel=1)
    await model.start()
    try:
        assert model.pid is not None
        assert os.getpgid(model.pid) != os.getpgrp()
    finally:
        await model.stop()


async def test_it_says_when_it_ended_by_itself(smollm2: Path) -> None:
    """`wait` returns, so that its owner can start another."""
    model = LocalModel("smollm2", context=1024, parallel=1)
    await model.start()
    assert model.pid is not None
    os.kill(model.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await model.wait() == -signal.SIGKILL
    assert model.pid is None
    await model.stop()


async def test_a_file_that_is_no_model_is_a_clear_error(tmp_path: Path) -> None:
    """It names the file and what to do, and leaves no process."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF but not really")
    model = LocalModel("smollm2", file=bad)
    with pytest.raises(LocalModelError) as caught:
        await model.start()
    assert str(bad) in str(caught.value)
    assert "fw model pull smollm2 --force" in str(caught.value)
    assert model.pid is None


async def test_without_llamacpp_the_error_is_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what works where there is no wheel."""
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LocalModelError, match=r"pip install 'fwsdk\[local\]'.*provider: ollama"):
        await LocalModel("smollm2").start()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_the_child_does_not_inherit_the_keys_of_providers(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment has no secret in it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-private")
    model = LocalModel("smollm2", context=1024, parallel=1)
    await model.start()
    try:
        environment, command = given(model.pid)
    finally:
        await model.stop()
    assert b"sk-private" not in environment
    assert model.key.encode() not in environment + command
