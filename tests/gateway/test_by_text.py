"""A step by text through the gateway: chosen by what the call says, kept for its run, and nothing of a text kept that was not asked for."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.catalog import text
from fw_gateway.config import TelemetryConfig
from fw_gateway.ledger import history
from fw_gateway.ledger.features import numbers
from fw_policies.by_text import SIZE, ByText, Reads
from fw_policies.lock import Arm, Certificate, Lock, LockedStep
from fw_policies.model import NANO_USD, TokenPrice
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import Upstream

CODE, CITY = "Sort this list in Python, please", "What is the capital of France?"
EXPLORE = {"share": "50%", "max_cost": "1 USD/day", "max_quality_loss": "50pt"}
PROOF = Certificate("quality >= 0.5", "ok", "step", 0.9, 0.91, 0.012, 400, "2999-12-06")
Running = Callable[..., AbstractAsyncContextManager[Client]]


def rule() -> ByText:
    """`a` is worth it for what is like CODE, `b` for everything else."""
    packed = tuple(memoryview(text.embedding().packed(CODE)).cast("b"))
    own = sum(each * each for each in packed)
    return ByText(text.digest(), 100.0, 0.2, (Reads(0.0, 10.0, 1 / own, packed), Reads(0.5, 10.0, 0.0, (0,) * SIZE)))


@pytest.fixture
def home(upstream: Upstream, tmp_path: Path) -> Running:
    """A gateway with the models `base`, `a`, `b` and `new`, whose policy `p` has a lock that serves every step by text."""

    def started(
        *, by_text: ByText | None = None, keep: bool = False, **policy: Any
    ) -> AbstractAsyncContextManager[Client]:
        endpoints = [endpoint(name, "here", upstream.url) for name in ("base", "a", "b", "new")]
        price = TokenPrice(NANO_USD, NANO_USD)
        endpoints = [replace(one, target=replace(one.target, price=price, max_output=10)) for one in endpoints]
        quality = {"outcome": "ok", "of": "step", "confidence": "90%"}
        lines = {"baseline": "base", "quality": quality, "default": {"require": [PROOF.promise]}, **policy}
        config = config_of(tmp_path, *endpoints, policies={"p": lines})
        arms = (Arm(("a",), 0.3), Arm(("b",), 0.7))
        step = LockedStep(arms, PROOF, by_text=rule() if by_text is None else by_text)
        lock = Lock("p", config.policies["p"].digest, "base", "", "", "", "", "", 0, {"*": step, "edit": step})
        telemetry = TelemetryConfig(traces_file=None, text_features=keep)
        return running(replace(config, locks={"p": lock}, telemetry=telemetry))

    return started


async def ask(client: Client, said: str, **headers: str) -> tuple[str, float, bool]:
    code, _, _ = await client.chat(
        "auto", fields={"messages": [{"role": "user", "content": said}]}, x_fw_policy="p", **headers
    )
    assert code == 200
    plan = client.records[-1].plan
    assert plan is not None
    return plan.targets[0].model, plan.propensity, plan.explored


async def rows(client: Client) -> list[sqlite3.Row]:
    """The ledger's rows, once all of them are written."""
    path = Path(client.gateway.config.server.state_dir) / "ledger.sqlite"
    client.gateway.recorder.flush(5.0)
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM calls ORDER BY started_ns").fetchall()


async def test_each_text_gets_its_model_for_sure(home: Running) -> None:
    async with home() as client:
        assert await ask(client, CODE) == ("a", 1.0, False)
        assert await ask(client, CITY) == ("b", 1.0, False)
        assert await ask(client, "") == ("b", 1.0, False)


async def test_the_first_text_of_a_run_decides_for_the_run_at_that_step(home: Running) -> None:
    async with home() as client:
        assert (await ask(client, CODE, x_fw_run="r"))[0] == "a"
        assert (await ask(client, CITY, x_fw_run="r"))[0] == "a"
        assert (await ask(client, CITY, x_fw_run="r", x_fw_step="edit"))[0] == "b"
        assert (await ask(client, CITY, x_fw_run="other"))[0] == "b"


async def test_equal_choices_are_one_plan(home: Running) -> None:
    async with home() as client:
        for _ in range(2):
            await ask(client, CODE)
        first, second = (record.plan for record in client.records)
        assert first is second


async def test_exploring_comes_first_and_leaves_the_rest_to_the_text(home: Running) -> None:
    """`new` is not proven: half of the calls try it, once enough answers of it were seen beside calls."""
    async with home(explore=EXPLORE) as client:
        client.gateway._engine._chooser.shadowing = False
        seen = {await ask(client, CODE, x_fw_task=str(number)) for number in range(40)}
        assert ("a", 0.5, False) in seen
        assert {one[0] for one in seen if one[2]} <= {"new", "base"}
        assert any(one[2] for one in seen)


async def test_another_embedding_is_said_and_the_baseline_serves(home: Running) -> None:
    async with home(by_text=replace(rule(), embedding="deadbeef")) as client:
        assert (await ask(client, CODE))[0] == "base"
        plan = client.records[-1].plan
        assert plan is not None
        assert any("text embedding deadbeef" in note.text for note in plan.notes)


async def test_nothing_of_a_text_is_kept_unless_it_is_asked_for(home: Running) -> None:
    async with home() as client:
        await ask(client, CODE)
        found = await rows(client)
    assert [(row["text"], row["by_text"]) for row in found] == [(None, 1)]


async def test_what_is_kept_is_the_numbers_and_never_the_text(home: Running) -> None:
    async with home(keep=True) as client:
        await ask(client, CODE, x_fw_run="r")
        await client.chat("a", fields={"messages": [{"role": "user", "content": CITY}]})
        await ask(client, CITY, x_fw_run="r")
        found = await rows(client)
        assert {record.said for record in client.records} == {None}
        path = Path(client.gateway.config.server.state_dir) / "ledger.sqlite"
        assert [row["text"] is None for row in found] == [False, True, False]  # a pinned call is no decision of ours
        assert numbers(found[2]["text"], text.digest()) == text.embedding().packed(CITY)
        assert numbers(found[0]["text"], text.digest()) == text.embedding().packed(CODE)
        assert numbers(found[0]["text"], "deadbeef") is None
        assert not {b"Python", b"capital"} & set(path.read_bytes().split())
        _, _, body = await client.get(f"/v1/decisions/{found[0]['decision_id']}")
        assert b'"text"' in body
        past = history.calls(path, 0)
        assert [(one.by_text, one.explored) for one in past] == [(True, False)] * 2


async def test_of_calls_that_nothing_could_be_learnt_from_nothing_is_kept(home: Running) -> None:
    """The lock is void, so that the baseline serves for sure."""
    async with home(by_text=replace(rule(), embedding="deadbeef"), keep=True) as client:
        await ask(client, CODE)
        assert [row["text"] for row in await rows(client)] == [None]
