"""The examples run as they stand, against a gateway as a user would have it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend.conftest import Gateway, gateway_of
from tests.endtoend.upstream import ANSWER, Upstream

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """\
server: {{stand_in: words}}
models:
  words: {{deployments: [{{provider: vllm, url: '{url}', model: fx-ok, machine_hour: 1.00 USD}}]}}
policies: [coding, support]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    upstream = Upstream()
    with gateway_of(CONFIG.format(url=upstream.url), tmp_path_factory.mktemp("examples")) as found:
        yield found
    upstream.close()


def run(name: str, gateway: Gateway) -> str:
    """An example's output; its warnings are errors."""
    env = {**os.environ, "FW_URL": f"http://127.0.0.1:{gateway.port}", "FW_API_KEY": "any"}
    command = [sys.executable, "-W", "error::DeprecationWarning", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quickstart_runs(gateway: Gateway) -> None:
    """A run, two steps, a stream, an outcome, an explanation with both steps, a cost."""
    said = run("quickstart.py", gateway)
    assert said.count(ANSWER) == 2
    assert "├─ plan" in said
    assert "└─ edit" in said
    assert "cost $" in said


def test_the_langgraph_example_runs(gateway: Gateway) -> None:
    """Two nodes, two decisions that can be explained."""
    said = run("langgraph_support.py", gateway)
    assert said.count("words: ") == 2
    decision = said.rsplit(None, 1)[-1]
    assert gateway.ask("GET", f"/v1/decisions/{decision}").json["decision"]["step"] == "reply"


def test_the_openai_example_runs(gateway: Gateway) -> None:
    """The official client: model, cost and decision in headers; usage at the end of a stream."""
    said = run("openai_client.py", gateway)
    assert "words for 0.0" in said
    assert "72 tokens" in said


def test_the_example_config_is_good() -> None:
    """It is read without a problem; what has no key is a warning, not an error."""
    fw = Path(sys.executable).parent / "fw"
    done = subprocess.run(
        [str(fw), "config", "check", "-c", str(EXAMPLES / "fw.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
