"""The SDK and the real gateway, over a socket and in process: one upstream that plays a script, one config, one truth."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwsdk import Client, FwError, NotFound, StreamInterrupted
from tests.endtoend.upstream import ANSWER, Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.close()


@pytest.fixture
def config(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FW_STATE_DIR", str(tmp_path / "state"))
    text = (
        f"models:\n  \"fx-*\":\n    deployments: [{{provider: vllm, url: '{upstream.url}', machine_hour: 1.00 USD}}]\n"
    )
    (tmp_path / "fw.yaml").write_text(text)
    return str(tmp_path / "fw.yaml")


@pytest.fixture(params=["embedded", "http"])
def fw(request: pytest.FixtureRequest, config: str) -> Iterator[Client]:
    """A client through each of the two doors."""
    with Client.embedded(config, timeout=20) as embedded:
        if request.param == "embedded":
            yield embedded
            return
        url, key = embedded.address()
        with Client(url, key, timeout=20) as client:
            yield client


def test_a_run_through_both_doors(fw: Client, upstream: Upstream) -> None:
    """Chat, stream, outcome, explanation: cost is known and the same everywhere."""
    with fw.run("coding", budget="2 USD") as run:
        with run.step("plan"):
            plan = fw.chat("Say the words.", model="fx-ok")
        with run.step("edit"):
            answer = fw.stream(plan.then("Again."), model="fx-ok")
            pieces = list(answer)
        assert run.outcome(tests_pass=True).stored == 1
    assert plan.text == "".join(pieces) == ANSWER
    assert len(pieces) > 10
    assert plan.decision_id
    assert answer.reply.decision_id != plan.decision_id
    assert answer.reply.usage is not None
    assert answer.reply.usage.completion_tokens == 60
    assert run.cost.usd is not None
    assert run.cost.usd > 0
    assert run.cost == plan.cost + answer.reply.cost
    said = str(run.explain())
    assert "plan" in said
    assert "edit" in said
    assert "fx-" in str(fw.explain(decision=plan.decision_id))
    planned = fw.explain("Say the words.", model="fx-ok").plan
    assert planned is not None
    assert planned.reason == "pinned"
    assert json.loads(upstream.last("ok").body)["messages"][-1]["content"] == "Again."


@pytest.mark.parametrize("fault", ["cut_close:3", "cut_rst:3", "cut_noterm:3", "err:3"])
def test_a_stream_the_upstream_breaks_is_an_error_that_keeps_the_text(fw: Client, fault: str) -> None:
    """Never a success, never a second try."""
    answer = fw.stream("Say the words.", model=f"fx-{fault}")
    with pytest.raises(StreamInterrupted) as raised:
        list(answer)
    assert ANSWER.startswith(raised.value.text)
    assert raised.value.text


def test_the_gateways_refusals_are_typed(fw: Client) -> None:
    """A model and a decision nobody knows."""
    with pytest.raises(NotFound):
        fw.chat("hi", model="nobody")
    with pytest.raises(NotFound):
        fw.explain(decision="nothing")
    with pytest.raises(FwError):
        fw.chat([], model="fx-ok")


def test_leaving_a_stream_early_reaches_the_upstream(fw: Client, upstream: Upstream) -> None:
    """Through both doors the exchange is cancelled down to the model's server."""
    with fw.stream("Say the words.", model="fx-stall:2") as answer:
        assert next(answer)
    assert upstream.last("stall:2").over.wait(5)
