"""`fw doctor`: what is missing, and the command that brings it."""

import platform
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import orjson
import typer

from fw_gateway.cli import output, remote
from fw_gateway.cli.options import ConfigFile, Json
from fw_gateway.config import Config, ConfigError, Endpoint, environment, load
from fw_gateway.providers import litellm_bridge
from fw_gateway.providers.local import have, missing

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    found: str
    fix: str = ""
    """The command, or the step, that mends it."""


def doctor(config: ConfigFile = None, as_json: Json = False) -> None:
    """What is missing here, and the command that fixes it. Exit code 1 when something stands in the way of `fw up`."""
    findings = list(examine(config))
    failed = any(item.state == "fail" for item in findings)
    if as_json:
        output.emit({"ok": not failed, "checks": [asdict(item) for item in findings]})
    else:
        for item in findings:
            output.line(f"{item.state:<5} {item.check:<14} {item.found}")
            if item.fix:
                output.line(f"      {'':<14} → {item.fix}")
        output.line("" if failed else "\nready: fw up")
    if failed:
        raise typer.Exit(output.FAILED)


def examine(path: str | None) -> Iterator[Finding]:
    """Look at everything that `fw up` will need."""
    yield _python()
    yield from _extras()
    try:
        config = load(path)
    except ConfigError as fault:
        fix = "; ".join(str(problem) for problem in fault.problems[:3])
        yield Finding("config", "fail", f"{fault.source}: {len(fault.problems)} problem(s)", f"mend it: {fix}")
        return
    yield Finding(
        "config",
        "ok",
        f"{config.source or 'built-in'}: {len(config.endpoints)} deployments, {len(config.policies)} policies",
    )
    yield from _local(config)
    yield from _bridge(config)
    yield from _keys(config)
    yield from _servers(config)
    yield _folder("state", Path(config.server.state_dir))
    if config.telemetry.traces_file:
        yield _folder("traces", Path(config.telemetry.traces_file).parent)
    yield from _listener(config)
    yield from _collector()


def _python() -> Finding:
    version = platform.python_version()
    return Finding("python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def _extras() -> Iterator[Finding]:
    for extra, module, what in (
        ("gateway", "orjson", "the gateway"),
        ("agents", "langgraph", "agents and `fw demo`"),
    ):
        if find_spec(module) is not None:
            yield Finding(extra, "ok", "installed")
        else:
            state: State = "fail" if extra == "gateway" else "warn"
            yield Finding(extra, state, f"not installed: {what} will not run", f"pip install 'fwsdk[{extra}]'")


def _bridge(config: Config) -> Iterator[Finding]:
    names = sorted({endpoint.row.name for endpoint in config.endpoints if endpoint.row.bridge})
    if not names:
        return
    if fix := litellm_bridge.missing():
        yield Finding("litellm", "warn", f"not here: {', '.join(names)} cannot serve", fix)
    else:
        yield Finding("litellm", "ok", f"{', '.join(names)} are reached through it")


def _local(config: Config) -> Iterator[Finding]:
    names = sorted({endpoint.embedded for endpoint in config.endpoints if endpoint.embedded})
    if not names:
        return
    if reason := missing():
        head, _, fix = reason.partition(": ")
        yield Finding("llama.cpp", "fail", f"{head}; this is {platform.system()} {platform.machine()}", fix)
    else:
        yield Finding("llama.cpp", "ok", "xllamacpp is installed")
    for name in names:
        file = have(name)
        if file is not None:
            yield Finding(name, "ok", str(file))
        else:
            yield Finding(name, "warn", "not here yet; `fw up` will fetch it", f"fw model pull {name}")


def _keys(config: Config) -> Iterator[Finding]:
    waiting: dict[str, list[str]] = {}
    for endpoint in config.endpoints:
        if config.blocked.get(endpoint.target.deployment) == "no_credential":
            waiting.setdefault(endpoint.row.key_env or "its key_env", []).append(endpoint.target.deployment)
    ready = len(config.endpoints) - len(config.blocked)
    yield Finding(
        "keys", "ok" if ready else "fail", f"{ready} of {len(config.endpoints)} deployments have what they need"
    )
    for variable, deployments in waiting.items():
        yield Finding("keys", "warn", f"no credential for {', '.join(deployments)}", f"export {variable}=…")


def _servers(config: Config) -> Iterator[Finding]:
    """What each self-hosted server serves, LoRA adapters among it; each of them can be a `model` of a deployment."""
    asked: dict[str, list[str] | str] = {}
    for endpoint in config.endpoints:
        name, wanted = endpoint.target.deployment, endpoint.target.upstream_model
        if not (endpoint.row.self_hosted and endpoint.url) or name in config.blocked:
            continue
        if endpoint.url not in asked:
            asked[endpoint.url] = _served(endpoint)
        served = asked[endpoint.url]
        if isinstance(served, str):
            yield Finding(name, "warn", f"{endpoint.url}: {served}", "start it, or mend its `url`")
        elif endpoint.forward_name or wanted in served:
            yield Finding(name, "ok", f"{endpoint.url} serves {', '.join(served[:20])}")
        else:
            fix = f"set its `model` to one of: {', '.join(served[:20])}"
            yield Finding(name, "warn", f"{endpoint.url} does not serve `{wanted}`", fix)


def _served(endpoint: Endpoint) -> list[str] | str:
    """The names that a server lists, or why it does not."""
    headers = {"Authorization": f"Bearer {endpoint.key.reveal()}"} if endpoint.key is not None else {}
    request = urllib.request.Request(f"{endpoint.url}/models", headers=headers)  # noqa: S310 - the config checked the scheme
    try:
        with urllib.request.urlopen(request, timeout=2.0) as answer:  # noqa: S310
            found = orjson.loads(answer.read(2**20))
        return [str(row["id"]) for row in found["data"]]
    except urllib.error.HTTPError as fault:
        with fault:
            return f"it answers {fault.code} when asked for its models"
    except OSError as fault:
        return f"nothing answers ({getattr(fault, 'reason', fault)})"
    except (ValueError, KeyError, TypeError):
        return "what it lists as its models is no such list"


def _folder(name: str, folder: Path) -> Finding:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding(name, "ok", f"{folder} can be written")
    except OSError as fault:
        fix = "set FW_STATE_DIR to a folder of yours"
        return Finding(name, "fail", f"{folder} cannot be written: {fault.strerror or fault}", fix)


def _listener(config: Config) -> Iterator[Finding]:
    host, port = config.server.host, config.server.port
    try:
        status, _ = remote.get("/readyz", timeout=2.0)
        yield Finding("gateway", "ok" if status == 200 else "warn", f"one is running: /readyz says {status}")
    except remote.Absent as absent:
        yield Finding("gateway", "ok", f"{absent}; none is needed for `fw up`")
    except output.Fail as fault:
        yield Finding("gateway", "warn", fault.message, "unset FW_URL")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        yield Finding("port", "ok", f"{host}:{port} is free")
    except OSError as fault:
        found = f"{host}:{port} cannot be taken: {fault.strerror or fault}"
        yield Finding("port", "warn", found, f"fw up --port {port + 1}")


def _collector() -> Iterator[Finding]:
    env = environment()
    address = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not address:
        yield Finding("otel", "ok", "no collector is named; traces go to the file alone")
        return
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 4318)
        with socket.create_connection((parts.hostname or "", port), timeout=2.0):
            yield Finding("otel", "ok", f"a collector listens at {address}")
    except (OSError, ValueError) as fault:
        yield Finding(
            "otel",
            "warn",
            f"nothing answers at {address}: {fault}",
            "start the collector, or unset OTEL_EXPORTER_OTLP_ENDPOINT",
        )
