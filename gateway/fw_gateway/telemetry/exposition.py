"""The tables as text for `/metrics`: OpenMetrics with exemplars, or the older Prometheus format without."""

from collections.abc import Iterable, Mapping

from fw_gateway.telemetry.metrics import Exemplar, Series, Table, named

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def accepts_openmetrics(accept: str) -> bool:
    """Whether a scraper that sends this Accept header reads OpenMetrics."""
    return "application/openmetrics-text" in accept


def text(tables: Iterable[Table], *, openmetrics: bool, target: Mapping[str, str]) -> str:
    """The whole page. `target` describes the process itself (`target_info`)."""
    lines: list[str] = []
    if openmetrics:
        lines += ["# TYPE target info", "# HELP target What this process is."]
    else:
        lines += ["# HELP target_info What this process is.", "# TYPE target_info gauge"]
    lines.append(f"target_info{_labels(target)} 1")
    for table in tables:
        lines += _family(table, openmetrics=openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _family(table: Table, *, openmetrics: bool) -> list[str]:
    instrument = table.instrument
    name = instrument.prometheus
    total = f"{name}_total"
    family = name if openmetrics or instrument.kind != "counter" else total
    lines = [f"# HELP {family} {instrument.help}", f"# TYPE {family} {instrument.kind}"]
    for labels, series in table.series.items():
        pairs = named(instrument, labels)
        if instrument.kind == "histogram":
            lines += _histogram(name, pairs, series, (table.instrument.bounds, openmetrics))
        else:
            lines.append(f"{total if instrument.kind == 'counter' else name}{_labels(pairs)} {_number(series.total)}")
    return lines


def _histogram(
    name: str, pairs: Mapping[str, object], series: Series, form: tuple[tuple[float, ...], bool]
) -> list[str]:
    bounds, openmetrics = form
    inner = _inner(pairs)
    comma = "," if inner else ""
    lines, running = [], 0
    for bound, cell, exemplar in zip((*bounds, None), series.buckets, series.exemplars, strict=True):
        running += cell
        le = "+Inf" if bound is None else _number(float(bound))
        seen = _exemplar(exemplar) if openmetrics and exemplar is not None else ""
        lines.append(f'{name}_bucket{{{inner}{comma}le="{le}"}} {running}{seen}')
    around = f"{{{inner}}}" if inner else ""
    return [*lines, f"{name}_sum{around} {_number(series.total)}", f"{name}_count{around} {series.count}"]


def _exemplar(exemplar: Exemplar) -> str:
    value, when, trace_id, span_id = exemplar
    return f' # {{trace_id="{trace_id}",span_id="{span_id}"}} {_number(value)} {when / 1e9:.3f}'


def _number(value: float) -> str:
    return repr(int(value)) if isinstance(value, int) else repr(value)


def _escape(value: object) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _inner(pairs: Mapping[str, object]) -> str:
    return ",".join([f'{name.replace(".", "_")}="{_escape(value)}"' for name, value in pairs.items()])


def _labels(pairs: Mapping[str, object]) -> str:
    inner = _inner(pairs)
    return f"{{{inner}}}" if inner else ""
