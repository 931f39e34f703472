"""Makes the outcomes that `fw audit --sample` reads: `python tests/audit/build_sample.py OUTCOMES.parquet`. Needs pyarrow.

The set is the one in which every model has answered nearly everything: agent `openhands`, models with at least 95 % of the
tasks scored and costed, tasks with at least 90 % of those models. What is missing stays missing. No text is taken.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

from pyarrow import parquet

OUT = Path(__file__).parents[2] / "gateway/fw_gateway/audit/data/openhands.json.gz"
SOURCE = "OpenHands/openhands-index-results @ 3015ac612e7196f428e6e8a3948965d32d9a3331"


def build(source: Path) -> dict[str, object]:
    rows = [row for row in parquet.read_table(source).to_pylist() if row["agent"] == "openhands"]
    whole = [row for row in rows if row["score"] is not None and row["cost_usd"] is not None]
    tasks = {row["query_id"] for row in rows}
    counts = Counter(row["model"] for row in whole)
    models = sorted(model for model, count in counts.items() if count >= 0.95 * len(tasks))
    kept = [row for row in whole if row["model"] in models]
    seen = Counter(row["query_id"] for row in rows if row["model"] in models and row["score"] is not None)
    steps = {row["query_id"]: row["benchmark"] for row in kept}
    chosen = sorted((task for task, count in seen.items() if count >= 0.9 * len(models)), key=lambda t: (steps[t], t))
    place = {task: index for index, task in enumerate(chosen)}
    cells: dict[str, dict[str, list[object]]] = {
        model: {"score": [None] * len(chosen), "cost": [None] * len(chosen)} for model in models
    }
    for row in kept:
        if row["query_id"] in place:
            at = place[row["query_id"]]
            cells[row["model"]]["score"][at] = int(row["score"]) if row["score"] in (0, 1) else row["score"]
            # 10 micro-dollars: the costs of a task are cents and dollars, and the file is a third of the size.
            cells[row["model"]]["cost"][at] = round(row["cost_usd"] * 1e5) * 10_000
    names = sorted({steps[task] for task in chosen})
    return {
        "source": SOURCE,
        "licence": "MIT; see LICENSES.txt",
        "outcome": "resolved",
        "steps": names,
        "step": [names.index(steps[task]) for task in chosen],
        "models": cells,
    }


if __name__ == "__main__":
    found = build(Path(sys.argv[1]))
    raw = json.dumps(found, separators=(",", ":")).encode()
    OUT.write_bytes(gzip.compress(raw, 9, mtime=0))
    print(f"{len(found['models'])} models, {len(found['step'])} tasks, {OUT.stat().st_size} bytes")  # type: ignore[arg-type]
