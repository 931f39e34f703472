"""The Promise Bench on sets made here: it finds them, judges them, catches a leak, and says what it could not judge."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fw_gateway.bench import routers, run
from fw_gateway.bench.calibration import calibration
from fw_gateway.bench.data import Broken, Reading, Table, Unusable, discover, read, table
from fw_gateway.bench.held_out import best_single, saves, zero_router
from fw_gateway.bench.pacing import pacing
from fw_gateway.bench.promises import Ask, dearer, estimated, keep
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
    for kind in ("frontier", "calibration", "promises", "pacing"):
        assert (tmp_path / "out" / f"made.{kind}.png").stat().st_size > 1000


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


def test_a_set_without_costs_is_judged_by_what_needs_none(tmp_path: Path) -> None:
    write(tmp_path, costs=False)
    verdict = run.bench(tmp_path, effort=run.Effort(splits=1, seeds=1, repetitions=1))
    found = {gate.gate: gate for gate in verdict.gates}
    for label in ("save@99", "promises broken"):
        assert found[label].passed is None
        assert "no costs" in found[label].note
    assert found["calibration error"].ours is not None
    assert any(label.startswith("what-if coverage") for label in found)


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


def plain(**more: object) -> list[dict[str, object]]:
    """Twenty queries, two models, nothing but what must be there; and `more`."""
    return [
        {"query_id": n, "model": model, "score": float((n + at) % 3 > 0), **more}
        for n in range(20)
        for at, model in enumerate("ab")
    ]


def put(folder: Path, name: str, rows: list[dict[str, object]], kind: str = "outcomes") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.{kind}.parquet")


def test_a_broken_set_is_named_and_the_others_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    put(data, "a good one, v1.2", plain())
    put(data, "percent", plain(score=87.0))
    put(data, "word", plain(score="good"))
    put(data, "lacking", [{"query_id": 1, "model": "a", "correct": 1.0}])
    put(data, "refund", plain(cost_usd=-1.0))
    put(data, "nobody", [*plain(), {"query_id": None, "model": "a", "score": 1.0}])
    put(data, "unasked", plain())
    put(data, "unasked", [{"prompt": "Who?"}], kind="queries")
    (data / "noise.outcomes.parquet").write_bytes(b"no table at all")
    status = fw(["bench", "route", "--data", str(data), "--out", str(tmp_path / "out"), "--quick", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert status == 1
    broken = {gate["data"]: gate["note"] for gate in said["gates"] if gate["gate"] == "can be judged"}
    assert set(broken) == {"percent", "word", "lacking", "refund", "nobody", "unasked", "noise"}
    assert "noise.outcomes.parquet cannot be read" in broken["noise"]
    assert "no column score" in broken["lacking"]
    assert "from 0 to 1" in broken["percent"]
    assert "no number" in broken["word"]
    assert "0 or more" in broken["refund"]
    assert "1 rows have no query_id" in broken["nobody"]
    assert "unasked.queries.parquet has no column query_id" in broken["unasked"]
    assert all(gate["passed"] is False for gate in said["gates"] if gate["gate"] == "can be judged")
    assert any(gate["data"] == "a good one, v1.2" and gate["ours"] is not None for gate in said["gates"])
    assert json.loads((tmp_path / "out" / "gates.json").read_text()) == said["gates"]


def test_cells_count_by_their_trials_and_what_is_missing_takes_the_mean_of_the_model() -> None:
    rows = [{**row, "score": 1.0, "n_trials": None} for row in plain() if (row["query_id"], row["model"]) != (7, "b")]
    rows += [{"query_id": 3, "model": "a", "score": 0.0, "n_trials": 3}]
    found = table("t", rows, {})
    third, seventh = found.queries.index("3"), found.queries.index("7")
    assert found.score[third, 0] == pytest.approx(0.25)
    assert found.trials[third, 0] == 4
    assert found.score[seventh, 1] == pytest.approx(1.0)
    assert found.steps == ("*",)
    assert found.cost is None
    assert found.latency is None


def test_one_id_at_two_steps_is_two_queries() -> None:
    rows = [{**row, "benchmark": f"step{step}"} for row in plain() for step in range(2)]
    found = table("t", rows, {})
    assert len(found.queries) == 40
    assert found.steps == ("step0", "step1")


def test_a_set_that_only_has_the_name_of_a_known_one_is_read_plainly(tmp_path: Path) -> None:
    for name in ("bfcl_2024_08", "openhands_index", "holmesgpt_sre", "tau2_support", "routellm_gpt4_mixtral"):
        put(tmp_path, name, plain())
    verdict = run.bench(tmp_path, effort=run.Effort(splits=1, seeds=1, repetitions=1))
    assert not verdict.skipped
    assert {gate.data for gate in verdict.gates} == set(discover(tmp_path))


def test_a_free_best_model_leaves_nothing_to_save(tmp_path: Path) -> None:
    put(tmp_path, "free", plain(cost_usd=0.0))
    verdict = run.bench(tmp_path, effort=run.Effort(splits=1, seeds=1, repetitions=1))
    assert "costs nothing" in next(gate.note for gate in verdict.gates if gate.gate == "save@99")


def test_of_equally_good_models_the_cheapest_is_the_best_single_one() -> None:
    rows = [{**row, "score": 1.0, "cost_usd": 2.0 if row["model"] == "a" else 1.0} for row in plain()]
    assert best_single(table("t", rows, {})) == 1


def test_frontiers_come_per_step_with_intervals(made: Table) -> None:
    fronts = saves(made, embed(made.texts), routers.by_step, seeds=1, draws=40).fronts
    assert [front.step for front in fronts] == ["", "step0", "step1"]
    assert fronts[0].queries == fronts[1].queries + fronts[2].queries
    for front in fronts:
        known = np.isfinite(front.low)
        assert known.mean() > 0.8
        middle = np.interp(front.cost[known], front.points.cost, front.points.quality)
        assert (front.low[known] <= middle + 0.02).all()
        assert (middle <= front.high[known] + 0.02).all()


def test_true_estimates_are_calibrated_and_the_best_of_lucky_ones_is_not(made: Table) -> None:
    """A router that overfits is right on the whole, and expects too much of what it chooses."""
    rng = np.random.default_rng(5)
    truth = np.full((4000, 6), 0.6)
    score = (rng.random(truth.shape) < truth).astype(float)
    lucky = np.clip(truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    large = replace(made, queries=tuple(map(str, range(4000))), score=score)
    honest = calibration(large, truth, np.argmax(truth, axis=1)[None], rng)
    fooled = calibration(large, lucky, np.argmax(lucky, axis=1)[None], rng)
    assert honest.bins.error < 0.02
    assert fooled.bins.error > 0.1
    assert honest.chosen is not None
    assert fooled.chosen is not None
    assert abs(honest.chosen.excess) < 0.03
    assert fooled.chosen.excess > 0.15
    assert ((honest.bins.low <= honest.bins.seen) & (honest.bins.seen <= honest.bins.high)).all()


def test_another_router_promises_by_its_own_estimates(made: Table) -> None:
    """One that sees good models everywhere promises all, and breaks it; the certified plans never do here."""

    def boaster(known: routers.Known, asked: routers.Asked) -> routers.Expected:
        honest = routers.by_step(known, asked)
        return replace(honest, quality=np.full_like(honest.quality, 0.99))

    vectors = embed(made.texts)
    told, declined = estimated(made, vectors, boaster, [Ask(0.85), Ask(0.999)], splits=6)
    assert (told.answered, told.broken) == (6, 6)
    assert declined.answered == 0
    fair = estimated(made, vectors, routers.by_step, [Ask(0.75)], splits=6)[0]
    assert fair.broken <= 2
    assert dearer(fair, told) > 1.64  # to keep a promise costs more than to break it
    assert dearer(told, told) == 0.0


def test_pacing_keeps_the_trail_that_is_drawn(made: Table) -> None:
    gates, paced = pacing(made, seed=0)
    assert paced is not None
    assert len(paced.trail) == 10 * len(made.queries)
    assert (np.diff(paced.trail) >= 0).all()
    assert paced.trail[-1] <= paced.budget
    assert paced.model == "big"
    assert len(paced.arrivals) == 5
    assert [gate.gate.split(":")[0] for gate in gates] == ["budget pacing", "calls until a new model is used"]


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.full((80, 3), np.nan)])
def test_a_router_that_answers_with_something_else_is_told_so(made: Table, bad: np.ndarray) -> None:
    run_it = routers.guarded(lambda known, asked: routers.Expected(bad, None))
    rows = np.arange(160)
    with pytest.raises(Unusable, match=r"finite numbers of shape \(80, 3\)"):
        run_it(made, embed(made.texts), rows[::2], rows[1::2])


def test_a_router_that_saw_the_costs_is_caught(made: Table) -> None:
    def careless(found: Table, texts: routers.Matrix, fit: routers.Rows, ask: routers.Rows) -> routers.Expected:
        assert found.cost is not None
        return replace(routers.guarded(routers.by_step)(found, texts, fit, ask), cost=found.cost[ask])

    assert routers.leaks(careless, made, embed(made.texts), np.random.default_rng(1))


def test_a_table_that_lacks_what_it_needs_is_broken_and_not_only_unusable(tmp_path: Path) -> None:
    put(tmp_path, "lacking", [{"query_id": 1, "score": 1.0}])
    with pytest.raises(Broken, match="no column model"):
        read(tmp_path, "lacking")
