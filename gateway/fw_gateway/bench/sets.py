"""The public sets whose figures are known, read as those figures were made; any other set is read plainly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fw_gateway.bench.data import Reading, Row, Table, read, table
from fw_gateway.bench.promises import Ask

BFCL = frozenset({
    "claude-3-5-sonnet-20240620", "gpt-4-1106-preview", "gpt-4-0125-preview", "gpt-4o-mini-2024-07-18", "gpt-4-turbo-2024-04-09",
    "gpt-4o-2024-08-06-FC", "gpt-4o-2024-05-13-FC", "yi-large-fc", "gpt-4o-mini-2024-07-18-FC", "mistral-medium-2312",
    "claude-3-sonnet-20240229", "gemini-1.5-pro-preview-0514", "gemini-1.5-flash-preview-0514", "open-mixtral-8x22b", "command-r-plus",
    "claude-3-haiku-20240307", "gpt-3.5-turbo-0125-FC", "open-mistral-nemo-2407-FC-Auto", "claude-3-opus-20240229", "gpt-4-0613",
})  # fmt: skip
TAU2 = frozenset({"claude-opus-4-6", "claude-sonnet-4-5", "gpt-5.4", "gpt-4o-2024-11-20"})
"""Those with costs on nearly all 50 tasks."""

Savings = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a set."""

    reading: Callable[[Mapping[str, Row]], Reading]
    targets: Savings = (None, None, None)
    """Least save@100, @99, @95; None: not asked."""
    anchors: Savings = (None, None, None)
    """What the best simple router reached."""
    asks: tuple[tuple[Ask, float | None], ...] = ()
    """Promises to keep, each with the calibrated plan's published cost."""
    columns: frozenset[str] = frozenset()
    """Of the outcomes, without which a set of this name is another set."""
    models: frozenset[str] = frozenset()


def _bfcl(queries: Mapping[str, Row]) -> Reading:
    del queries
    return Reading(models=BFCL, text=lambda query: f"{query.get('prompt') or ''} {query.get('tools') or ''}")


def _openhands(queries: Mapping[str, Row]) -> Reading:
    del queries
    return Reading(keep=lambda row: row["agent"] == "openhands")


def _holmes(queries: Mapping[str, Row]) -> Reading:
    del queries
    return Reading(keep=lambda row: row["run"] == "2025-09-30-n5")


def _tau2(queries: Mapping[str, Row]) -> Reading:
    del queries
    return Reading(keep=lambda row: row["benchmark"] == "tau2-airline" and row["scaffold"] == "llm_agent", models=TAU2)


def routellm(benchmark: str, queries: Mapping[str, Row]) -> Reading:
    """RouteLLM's MMLU (step: the subject) or GSM8K, without what its authors call contaminated."""
    return Reading(
        keep=lambda row: (
            row["benchmark"] == benchmark and not queries[str(row["query_id"])].get("routellm_contaminated")
        ),
        step=lambda row, query: str(row["query_id"]).split("/")[1] if benchmark == "mmlu" else benchmark,
    )


KNOWN: Mapping[str, Known] = {
    "bfcl_2024_08": Known(
        _bfcl, (0.65, 0.92, None), (0.650, 0.918, None),
        ((Ask(0.84, 3.0), 0.00015), (Ask(0.86, 3.0), 0.00046), (Ask(0.88, 3.0), 0.00102)), models=BFCL,
    ),
    "openhands_index": Known(
        _openhands, (0.42, None, 0.65), (0.395, None, 0.625),
        ((Ask(0.70), 0.150), (Ask(0.75), 0.366), (Ask(0.80), 0.720), (Ask(0.85), 1.281)), frozenset({"agent"}),
    ),
    "holmesgpt_sre": Known(_holmes, (0.021, 0.058, 0.129), (0.0, 0.018, 0.090), columns=frozenset({"run"})),
    "tau2_support": Known(_tau2, anchors=(0.0, 0.105, 0.347), columns=frozenset({"scaffold"}), models=TAU2),
}  # fmt: skip


def load(folder: Path, name: str) -> tuple[Table, Known | None]:
    """A set as its figures were made, with what is known of it; or plainly, when only its name is that of a known one.

    Raises:
        Unusable: it cannot be judged.
    """
    rows, queries = read(folder, name)
    known = KNOWN.get(name)
    if known is None or not rows:
        return table(name, rows, queries), None
    if known.columns <= set(rows[0]) and known.models <= {row["model"] for row in rows}:
        return table(name, rows, queries, known.reading(queries)), known
    return table(name, rows, queries), None
