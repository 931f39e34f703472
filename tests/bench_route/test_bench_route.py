"""The Promise Bench on sets made here: it finds them, judges them, catches a leak, and says what it could not judge."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fw_gateway.bench import routers, run
from fw_gateway.bench.data import Reading, Table, Unusable, discover, read, table
from fw_gateway.bench.held_out import best_single, saves, zero_router
from fw_gateway.bench.promises import Ask, keep
from fw_gateway.catalog.text import embed
from fw_gateway.cli.app import run as fw

EXAMPLES = Path(__file__).parents[2] / "examples" / "routers.py"
TEXTS = ("Sort a list of numbers in Python.", "Why does the pod restart again and again?")


def write(folder: Path, *, queries: int = 160, costs: bool = True) -> None:
    """Two steps, three models: `big` is good at both, `small` at one, at a tenth of the price."""
    rng = np.random.default_rng(0)
    chance = {"big": (0.9, 0.9), "small": (0.9, 0.3), "tiny": (0.4, 0.2)}
    price = {"big": 0.10, "small": 0.01, "tiny": 0.001}
    rows, listed = [], []
    for number in range(queries):
        step = number % 2
        listed.append({"query_id": f"q{number}", "benchmark": f"step{step}", "prompt": f"{TEXTS[step]} Case {number}."})
        for model, good in chance.items():
            one = {"query_id": f"q{number}", "benchmark": f"step{step}", "model": model, "n_trials": 1}
            cost = price[model] * float(rng.lognormal(0, 0.2)) if costs else None
            score, latency = float(rng.random() < good[step]), float(rng.lognormal(0, 0.3))
            rows.append({**one, "score": score, "cost_usd": cost, "latency_s": latency})
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "made.outcomes.parquet")
    parquet.write_table(pa.Table.from_pylist(listed), folder / "made.queries.parquet")


@pytest.fixture
def made(tmp_path: Path) -> Table:
    write(tmp_path)
    return table("made", *read(tmp_path, "made"))


def test_any_folder_is_judged_and_the_verdict_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data")
    parquet.write_table(
        pa.Table.from_pylist([{"query_id": "1", "model": "a", "score": 1.0}]), tmp_path / "data/thin.outcomes.parquet"
    )
    status = fw(["bench", "route", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--quick"])
    said = capsys.readouterr()
    gates = json.loads((tmp_path / "out" / "gates.json").read_text())
    assert {"gate", "data", "ours", "anchor", "target", "passed"} <= set(gates[0])
    names = {gate["gate"] for gate in gates}
    assert {"save@100", "save@99", "save@95"} <= names
    assert any(name.startswith("promises broken") for name in names)
    assert status == (1 if any(gate["passed"] is False for gate in gates) else 0)
    assert "thin" in said.out  # it was skipped, and that is said
    assert "2 on 10" in said.out
    assert (tmp_path / "out" / "made.frontier.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["naive_lp", "similarity"])
def test_the_example_routers_load_from_their_file_and_see_no_outcome(made: Table, name: str) -> None:
    found = run.router(f"{EXAMPLES}:{name}")
    vectors = embed(made.texts)
    assert not routers.leaks(routers.guarded(found), made, vectors, np.random.default_rng(1))
    rows = np.arange(len(made.queries))
    expected = routers.guarded(found)(made, vectors, rows[::2], rows[1::2])
    assert expected.quality.shape == (len(rows) // 2, len(made.models))
    assert expected.cost is not None


def test_a_router_that_saw_the_outcomes_is_caught(made: Table) -> None:
    """The leak is planted where a careless harness has it: the table still holds the outcomes that are asked for."""
    vectors = embed(made.texts)

    def careless(found: Table, texts: routers.Matrix, fit: routers.Rows, ask: routers.Rows) -> routers.Expected:
        honest = routers.guarded(routers.ours)(found, texts, fit, ask)
        return replace(honest, quality=0.9 * honest.quality + 0.1 * found.score[ask])

    rng = np.random.default_rng(1)
    assert routers.leaks(careless, made, vectors, rng)
    assert not routers.leaks(routers.guarded(routers.ours), made, vectors, np.random.default_rng(1))


def test_the_step_is_found_and_saves_what_the_best_single_model_cannot(made: Table) -> None:
    vectors = embed(made.texts)
    assert made.models[best_single(made)] == "big"
    found = saves(made, vectors, routers.by_step, seeds=2, draws=20)
    assert made.cost is not None
    single = zero_router(made)
    alone = 1 - single.cost_at(0.95 * made.score[:, 0].mean()) / made.cost[:, 0].mean()
    assert found.mean[2] > alone + 0.1  # half of the calls can go to the small model
    assert found.low[2] <= found.mean[2] <= found.high[2]


def test_promises_are_kept_where_the_naive_plan_breaks_them(made: Table) -> None:
    ours = keep(made, Ask(0.75), "ours", splits=6)
    naive = keep(made, Ask(0.75), "naive", splits=6)
    assert ours.splits == 6
    assert ours.broken <= 1
    assert naive.answered == 6
    assert ours.cost <= made.cost[:, 0].mean() if made.cost is not None else False


def test_a_promise_beyond_every_model_is_declined(made: Table) -> None:
    found = keep(made, Ask(0.99), "ours", splits=3)
    assert found.answered == 0
    assert found.broken == 0
    assert np.isnan(found.cost_answered)


def test_models_that_answered_too_little_are_left_out_with_the_reason() -> None:
    rows = [{"query_id": f"q{n}", "model": model, "score": 1.0, "benchmark": "s"} for n in range(20) for model in "ab"]
    rows += [{"query_id": f"q{n}", "model": "c", "score": 1.0, "benchmark": "s"} for n in range(10)]
    found = table("t", rows, {}, Reading())
    assert found.models == ("a", "b")
    assert found.left_out == {"c": "scored on 50% of the queries"}
    assert found.cost is None


def test_a_set_without_costs_is_not_judged_by_them(tmp_path: Path) -> None:
    write(tmp_path, costs=False)
    verdict = run.bench(tmp_path, effort=run.Effort(splits=1, seeds=1, repetitions=1))
    assert [(gate.gate, gate.passed) for gate in verdict.gates] == [("save@99", None)]
    assert "no costs" in verdict.gates[0].note


@pytest.mark.parametrize(
    ("name", "said"),
    [("mine", "is no router"), ("nowhere:route", "cannot be loaded"), ("json:route", "cannot be loaded")],
)
def test_a_router_that_is_not_there_is_named(name: str, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        run.router(name)
    assert run.router("fw_gateway.bench.routers:nearest") is routers.nearest


def test_a_folder_without_sets_says_what_it_should_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unusable, match=r"outcomes\.parquet"):
        discover(tmp_path)
    assert fw(["bench", "route", "--data", str(tmp_path)]) == 2
    assert "outcomes.parquet" in capsys.readouterr().err


def test_texts_alike_in_meaning_lie_closer_than_others() -> None:
    same, alike, other, empty = embed(["How do I sort a list?", "Sorting a list, how?", "The pod was evicted.", ""])
    assert same @ alike > 0.5 > same @ other
    assert not empty.any()
    assert np.linalg.norm(same) == pytest.approx(1.0)
