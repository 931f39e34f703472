"""The client's own check, through both doors: what it rejects is not returned while there is something left to try."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from fwsdk import AsyncClient, Client, Reply, ServerError
from tests.endtoend.upstream import ANSWER, Upstream

POLICY = """policy: {name}
baseline: b-strong
default: {{verify: patch_applies, otherwise: {otherwise}, require: [cost <= 1 USD]}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.close()


@pytest.fixture
def config(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two models that may both serve, `a-cheap` first."""
    monkeypatch.setenv("FW_STATE_DIR", str(tmp_path / "state"))
    price = "price: {input: 1 USD/Mtok, output: 1 USD/Mtok}"
    place = f"{{provider: vllm, url: '{upstream.url}', model: fx-ok, {price}}}"
    lines = ["models:", *(f"  {name}: {{deployments: [{place}]}}" for name in ("a-cheap", "b-strong"))]
    for name, otherwise in (("coding", "baseline"), ("strict", "refuse")):
        (tmp_path / f"{name}.yaml").write_text(POLICY.format(name=name, otherwise=otherwise))
    lines.append("policies: [coding.yaml, strict.yaml]")
    (tmp_path / "fw.yaml").write_text("\n".join(lines) + "\n")
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


class Picky:
    """Accepts the answers of one model, and remembers whom it was shown."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.shown: list[str] = []

    def __call__(self, reply: Reply) -> bool:
        self.shown.append(reply.model)
        return reply.model == self.model


def test_the_first_accepted_reply_is_returned_and_its_cost_is_that_of_all_attempts(fw: Client) -> None:
    check = Picky("b-strong")
    with fw.run("coding") as run, run.step("edit", verify=check):
        reply = fw.chat("Say the words.", max_tokens=100)
    assert check.shown == ["a-cheap", "b-strong"]
    assert (reply.model, reply.verified, reply.text) == ("b-strong", True, ANSWER)
    assert reply.cost.nano == 2 * 72 * 1000
    assert run.cost == reply.cost
    said = str(fw.explain(decision=reply.decision_id))
    assert "CASCADE until patch_applies" in said
    assert "rejected by patch_applies" in said
    assert "accepted" in said


def test_a_stream_yields_nothing_before_it_is_accepted(fw: Client) -> None:
    check = Picky("b-strong")
    with fw.run("coding") as run, run.step("edit", verify=check):
        stream = fw.stream("Say the words.", max_tokens=100)
        first = next(stream)
        assert check.shown == ["a-cheap", "b-strong"]
        assert first + "".join(stream) == ANSWER
    assert (stream.reply.model, stream.reply.verified) == ("b-strong", True)
    assert run.cost.nano == 2 * 72 * 1000


def test_when_all_are_rejected_the_last_is_returned_and_says_so_or_the_policy_refuses(fw: Client) -> None:
    check = Picky("nobody")
    with fw.run("coding") as run, run.step("edit", verify=check):
        reply = fw.chat("Say the words.", max_tokens=100)
        stream = fw.stream("Say the words.", max_tokens=100)
        assert "".join(stream) == ANSWER
    assert (reply.model, reply.verified, stream.reply.verified) == ("b-strong", False, False)
    with fw.run("strict") as run, run.step("edit", verify=check), pytest.raises(ServerError) as caught:
        fw.chat("Say the words.", max_tokens=100)
    assert caught.value.code == "verification_failed"


def test_a_step_without_a_check_is_neither_checked_nor_asked(fw: Client) -> None:
    with fw.run("coding") as run, run.step("edit"):
        reply = fw.chat("Say the words.", max_tokens=100)
        planned = fw.explain("Say the words.", max_tokens=100)
    assert reply.verified is None
    assert "patch_applies is not run by this client" in str(planned)


def test_calls_made_inside_a_check_are_not_checked_themselves(fw: Client) -> None:
    inner: list[Reply] = []

    def check(reply: Reply) -> bool:
        inner.append(fw.chat("Is it good?", max_tokens=100))
        return True

    with fw.run("coding") as run, run.step("edit", verify=check):
        assert fw.chat("Say the words.", max_tokens=100).verified
    assert [one.verified for one in inner] == [None]


def test_a_check_that_fails_itself_is_the_callers_to_hear_of(fw: Client) -> None:
    def check(reply: Reply) -> bool:
        raise LookupError("no repository")

    with fw.run("coding") as run, run.step("edit", verify=check), pytest.raises(LookupError, match="no repository"):
        fw.chat("Say the words.", max_tokens=100)


async def test_an_asynchronous_check_is_awaited(config: str) -> None:
    async def check(reply: Reply) -> bool:
        await asyncio.sleep(0)
        return reply.model == "b-strong"

    async with AsyncClient.embedded(config, timeout=20) as fw, fw.run("coding") as run, run.step("edit", verify=check):
        assert (await fw.chat("Say the words.", max_tokens=100)).model == "b-strong"


def test_in_process_the_callers_span_tells_of_all_attempts_once_it_is_over(
    config: str, spans: Callable[[], dict[str, ReadableSpan]]
) -> None:
    """A call whose check raises is over for the caller, not for the gateway: its span says nothing of what it cannot know."""

    def broken(reply: Reply) -> bool:
        raise LookupError("no repository")

    with Client.embedded(config, timeout=20) as fw, fw.run("coding") as run:
        with run.step("edit", verify=Picky("b-strong")):
            fw.chat("Say the words.", max_tokens=100)
        found = dict(spans()["chat auto"].attributes or {})
        assert (found["fw.call.outcome"], found["fw.call.attempt.count"]) == ("cascaded", 2)
        assert found["fw.call.served.model"] == "b-strong"
        with run.step("edit", verify=broken), pytest.raises(LookupError):
            fw.chat("Say the words.", max_tokens=100)
        found = dict(spans()["chat auto"].attributes or {})
        assert found["error.type"] == "_OTHER"
        assert "fw.call.outcome" not in found
        assert found["fw.decision.id"]
