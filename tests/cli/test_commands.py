"""The `fw` command, run as users run it: a process, no terminal, an exit code."""

import json
import os
import socket
import stat
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fw_gateway import cli
from fw_gateway.cli import extra
from fw_gateway.cli.output import Fail
from tests.cli.conftest import apart

COMMANDS = ("up", "chat", "demo", "models", "model", "policy", "explain", "trace", "doctor", "config", "version")
WITH_JSON = (
    ("models",),
    ("policy", "list"),
    ("policy", "show", "coding"),
    ("explain", "coding/edit"),
    ("config", "check"),
    ("version",),
)
ONE = 'models: {m: {deployments: [{provider: vllm, url: "http://127.0.0.1:9/v1", machine_hour: 1 USD}]}}\n'


def test_help_lists_every_command(tmp_path: Path) -> None:
    """Without a terminal, without colour, from a process of its own."""
    done = apart(tmp_path, "--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f" {name} " in done.stdout
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize(
    "command", ["up", "models", "explain", "policy show", "model pull", "doctor", "config check", "chat", "trace show"]
)
def test_every_command_has_help_with_an_example(command: str, fw) -> None:
    """The reader sees one line that works."""
    done = fw(*command.split(), "--help")
    assert done.returncode == 0
    assert "example" in done.stdout.lower()
    assert f"fw {command}" in done.stdout


@pytest.mark.parametrize("argv", WITH_JSON, ids=" ".join)
def test_json_is_json(argv: tuple[str, ...], fw) -> None:
    """All of standard output is one value."""
    done = fw(*argv, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("explain", "coding/edit", "--set", "quality > much"), 2, "what --set asks for cannot be required"),
        (("explain", "coding/edit", "--fact", "attemptt=3"), 2, "there is no fact `attemptt`. Did you mean `attempt`"),
        (("explain", "coding/edit", "--fact", "attempt=x"), 2, "must be a whole number"),
        (("explain", "coding/edit", "--policy", "codng"), 2, "there is no policy `codng`. Did you mean `coding`"),
        (("explain", "run"), 2, "which run? Write `fw explain run last`"),
        (("explain", "a", "b"), 2, "cannot explain `a b`"),
        (("policy", "show", "codng"), 2, "there is no policy `codng`. Did you mean `coding`"),
        (("policy", "check", "none.yaml"), 2, "none.yaml cannot be read"),
        (("models", "--provider", "opnai"), 2, "there is no provider `opnai`"),
        (("models", "-c", "none.yaml"), 2, "none.yaml: 1 problem"),
        (("model", "pull", "gpt"), 2, "there is no local model `gpt`"),
        (("model", "pull", "smollm2", "--from", "none.gguf"), 1, "there is no file none.gguf"),
        (("up", "-c", "none.yaml"), 2, "none.yaml: 1 problem"),
        (("up", "--port", "99999"), 2, "must be a port from 0 to 65535"),
        (("up", "--host", "0.0.0.0"), 2, "needs a strong FW_API_KEY"),
        (("up", "--prot", "1"), 2, "--prot"),
        (("nonsense",), 2, "nonsense"),
        (("models", "--nonsense"), 2, "--nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_one_message_and_an_exit_code(argv: tuple[str, ...], code: int, said: str, fw) -> None:
    """2 for what was asked or configured wrongly, 1 for what failed; never a traceback."""
    done = fw(*argv)
    assert done.returncode == code, done.stdout + done.stderr
    assert " ".join(said.split()) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_with_json_an_error_is_json_too(fw) -> None:
    """The same message, the same code."""
    done = fw("policy", "show", "codng", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["message"] == "there is no policy `codng`."


def test_models_says_why_one_is_left_out(fw) -> None:
    """And serves it once its key is there."""
    rows = {row["model"]: row for row in json.loads(fw("models", "--json").stdout)["models"]}
    assert rows["gpt-6-luna"]["excluded"] == "no credential (OPENAI_API_KEY)"
    rows = {row["model"]: row for row in json.loads(fw("models", "--json", OPENAI_API_KEY="k").stdout)["models"]}
    assert rows["gpt-6-luna"]["excluded"] == ""
    assert rows["gpt-6-luna"]["price"] == {
        "input": 100000000,
        "output": 500000000,
        "cached_input": 10000000,
        "cache_write": 125000000,
    }


def test_models_prints_whole_lines_without_a_terminal(fw) -> None:
    """One deployment a line, nothing cut off or wrapped."""
    lines = [line for line in fw("models").stdout.splitlines() if "@" in line]
    assert len(lines) == 9
    assert any("claude-sonnet-5.5@anthropic" in line and "no credential (ANTHROPIC_API_KEY)" in line for line in lines)


def test_the_catalog_can_be_listed_by_provider(fw) -> None:
    """What could be put in a config, with its price."""
    assert "gpt-5.5" in fw("models", "--provider", "openai").stdout


@pytest.mark.parametrize("policy", ["coding", "sre", "support"])
def test_a_built_in_policy_can_be_shown(policy: str, fw) -> None:
    """Every step, after defaults."""
    done = fw("policy", "show", policy)
    assert done.returncode == 0, done.stderr
    assert f"policy: {policy}" in done.stdout


def test_policy_check_names_the_line_of_a_bad_policy(fw, tmp_path: Path) -> None:
    """And passes a good one."""
    (tmp_path / "p.yaml").write_text("policy: p\nbaseline: smollm2\ndefault:\n  minimise: cost\n")
    done = fw("policy", "check", "p.yaml")
    assert done.returncode == 2
    assert "line 4" in done.stderr
    assert "minimize" in done.stderr
    (tmp_path / "p.yaml").write_text("policy: p\nbaseline: smollm2\ndefault:\n  minimize: cost\n")
    assert fw("policy", "check", "p.yaml").stdout.startswith("p.yaml is good: p (")


def test_explain_on_day_one_serves_the_baseline_or_its_stand_in_and_says_so(fw) -> None:
    """No key, no evidence: the closed models are candidates without a credential."""
    done = fw("explain", "coding/edit")
    assert done.returncode == 0, done.stderr
    assert "coding/edit" in done.stdout
    assert "smollm2" in done.stdout
    assert "no credential" in done.stdout
    mapping = json.loads(fw("explain", "coding/edit", "--json").stdout)
    assert mapping["reason"] == "degraded"


def test_explain_can_ask_what_if(fw) -> None:
    """The line that is set stands in the plan's requirements, in place of the policy's own."""
    plain = fw("explain", "coding/edit").stdout
    changed = fw("explain", "coding/edit", "--set", "p95 latency <= 77s").stdout
    assert "77" not in plain
    assert "77" in changed


def test_explain_of_a_models_name_is_a_pinned_plan(fw) -> None:
    """No requirement applies to it."""
    assert json.loads(fw("explain", "smollm2", "--json").stdout)["reason"] == "pinned"


def test_explain_all_lists_every_candidate(fw) -> None:
    """All nine deployments of the built-in config."""
    said = fw("explain", "coding/edit", "--all").stdout
    assert all(name in said for name in ("grok-4.7@xai", "gemini-3.8-flash@gemini", "smollm2@embedded"))


def test_explain_of_an_unknown_run_says_where_it_looked(fw) -> None:
    """In the state folder and at the gateway that is not there."""
    done = fw("explain", "run", "01NONE", FW_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no gateway answers at http://127.0.0.1:9" in done.stderr


def test_doctor_names_the_command_that_mends_it(fw, tmp_path: Path) -> None:
    """A missing model file and missing keys are warnings: `fw up` still works."""
    done = fw("doctor", "--json", FW_MODEL_DIR=str(tmp_path / "none"), FW_URL="http://127.0.0.1:9")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    checks = {(item["check"], item["fix"]) for item in report["checks"]}
    assert ("smollm2", "fw model pull smollm2") in checks
    assert ("keys", "export OPENAI_API_KEY=…") in checks


def test_doctor_sees_what_stands_in_the_way(fw, tmp_path: Path) -> None:
    """A broken config, a taken port, a state folder that cannot be: exit code 1 for what cannot work."""
    (tmp_path / "fw.yaml").write_text("models: {}\nsever: {}\n")
    done = fw("doctor", "-c", "fw.yaml")
    assert done.returncode == 1
    assert "Did you mean `server`" in done.stdout
    (tmp_path / "file").write_text("")
    assert fw("doctor", FW_STATE_DIR=str(tmp_path / "file" / "x")).returncode == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = fw("doctor", FW_PORT=str(port), FW_URL="http://127.0.0.1:9").stdout
    assert f"127.0.0.1:{port} cannot be taken" in said
    assert f"fw up --port {port + 1}" in said


def test_config_check_prints_what_was_assumed(fw, tmp_path: Path) -> None:
    """And that the file is good."""
    (tmp_path / "fw.yaml").write_text(ONE)
    done = fw("config", "check", "-c", "fw.yaml")
    assert done.returncode == 0
    assert done.stdout.startswith("fw.yaml is good")
    assert "no policy is called `default`" in done.stdout


def test_version_says_which_prices_are_used(fw) -> None:
    """Both are needed to reproduce a plan."""
    assert "prices genai-prices" in fw("version").stdout


def test_no_colour_codes_where_they_are_not_wanted(fw) -> None:
    """NO_COLOR, and no terminal at all."""
    assert "\x1b" not in fw("models", NO_COLOR="1", FORCE_COLOR="").stdout


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    """`fw models --provider openrouter | head -1`."""
    command = [sys.executable, "-m", "fw_gateway", "models", "--provider", "openrouter"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_without_the_gateway_extra_the_one_pip_line_is_printed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """An SDK-only installation has the command, too."""
    real = cli.find_spec
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "typer" else real(name))
    assert cli.run(["models"]) == 1
    assert "pip install 'fwsdk[gateway,agents,local]'" in capsys.readouterr().err


def test_a_command_from_another_package_is_loaded_when_it_is_run(capsys) -> None:
    """A plain function becomes a command; its arguments arrive."""
    with pytest.raises(SystemExit) as end:
        extra.call(EntryPoint("hello", f"{__name__}:hello", "fw.commands"), ["you", "--loud"])
    assert end.value.code == 0
    assert capsys.readouterr().out == "HELLO YOU\n"


def hello(name: str, loud: bool = False) -> None:
    """A command as another package would bring it."""
    text = f"hello {name}"
    print(text.upper() if loud else text)


def test_a_command_whose_package_is_not_installed_prints_the_pip_line() -> None:
    """Not a traceback."""
    with pytest.raises(Fail) as caught:
        extra.call(EntryPoint("demo", "no_such_package_of_ours:demo", "fw.commands"), [])
    assert "no_such_package_of_ours is not installed" in caught.value.message
    assert "pip install" in caught.value.hint


def test_pull_from_a_file_reports_what_it_checked(fw, smollm2: Path, tmp_path: Path) -> None:
    """The real model, copied from where it is; the copy is the pinned file."""
    done = fw("model", "pull", "smollm2", "--from", str(smollm2), "--json", FW_MODEL_DIR=str(tmp_path / "m"))
    report = json.loads(done.stdout)
    assert report["fetched"] is True
    assert Path(report["file"]).stat().st_size == 98_362_432
    assert os.access(report["file"], os.R_OK)
    assert stat.S_ISREG(Path(report["file"]).stat().st_mode)
    again = fw("model", "pull", "smollm2", FW_MODEL_DIR=str(tmp_path / "m"))
    assert "already here" in again.stdout
