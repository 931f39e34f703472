"""Reads a config file, or the built-in default, into one checked Config."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from fw_gateway.catalog import models
from fw_gateway.clock import today
from fw_gateway.config import default, locks, reader
from fw_gateway.config.deployments import Reading, read_models
from fw_gateway.config.document import NotYaml, parse
from fw_gateway.config.environment import environment
from fw_gateway.config.model import Config, Secret, ServerConfig, TelemetryConfig
from fw_gateway.config.policies import (
    DEFAULT,
    builtin_names,
    check_policies,
    fallback_policy,
    read_agents,
    read_policies,
)
from fw_gateway.config.problems import ConfigError, Path, Problem, Problems, near
from fw_gateway.config.secrets import NEW_KEY, loopback, read_secret, weakness
from fw_policies.model import Target
from fw_policies.spec import Policy


@dataclass(frozen=True, slots=True)
class _Source:
    value: Any
    lines: dict[Path, int]
    name: str
    base: FilePath
    """Folder that relative paths start from."""


def load(
    path: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    host: str | None = None,
    port: int | None = None,
    state_dir: str | None = None,
    workers: int | None = None,
) -> Config:
    """The checked config of a file, or the built-in one when `path` is None. Arguments win over the environment, that over the file.

    Raises:
        ConfigError: with every problem that was found, each with its place and a cure.
    """
    env = environment() if env is None else env
    source = _open(path)
    problems = Problems(source.lines)
    top = reader.Section(source.value, (), problems)
    overrides = {"host": host, "port": port, "state_dir": state_dir, "workers": workers}
    server = _server(reader.Section(top.raw("server"), ("server",), problems), source, env, overrides)
    telemetry = _telemetry(
        reader.Section(top.raw("telemetry"), ("telemetry",), problems), source, env, server.state_dir
    )
    reading = Reading(env, source.base, problems)
    section = top.raw("models")
    if section is None:
        hint = "Write `models: {gpt-6-luna: {deployments: [{provider: openai}]}}`; `fw models --provider openai` lists what is known."
        problems.add(("models",), "is missing: there is nothing to serve.", hint)
    else:
        read_models(section, reading)
    targets = tuple(endpoint.target for endpoint in reading.endpoints)
    policies = _policies(top.raw("policies"), source, reading, server.stand_in)
    agents = read_agents(top.raw("agents"), policies, problems)
    top.close()
    compiled = locks.read(locks.folder(path or "", server.state_dir), policies, problems)
    if problems.tiered:
        many = ", ".join(problems.tiered)
        problems.assumptions.append(f"long inputs are priced like short ones, though they cost more, for {many}.")
    _checks(server, targets, problems)
    if problems.found:
        raise ConfigError(problems.found, source.name)
    models.release()
    return Config(
        server=server,
        endpoints=tuple(reading.endpoints),
        policies=policies,
        agents=agents,
        telemetry=telemetry,
        digest=_digest(source.value, server, targets, policies),
        prices=models.price_version(),
        warnings=tuple(problems.warnings),
        blocked=reading.blocked,
        locks=compiled,
        assumptions=tuple(problems.assumptions),
        source=path or "",
    )


def _open(path: str | None) -> _Source:
    if path is None:
        return _Source(default.document(), {}, "built-in config", FilePath())
    file = FilePath(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not text"
        hint = "Leave out `-c` to serve the embedded model."
        raise ConfigError([Problem("", f"cannot be read: {reason}.", hint)], path) from None
    try:
        value, lines = parse(text, path)
    except NotYaml as fault:
        raise ConfigError([replace(fault.problem, path="")], path) from None
    if not isinstance(value, Mapping):
        message = "is empty." if value is None else f"must be a mapping, not {reader.kind(value)}."
        hint = "Top-level keys are server, models, policies, agents, telemetry."
        raise ConfigError([Problem("", message, hint)], path)
    return _Source(value, lines, path, file.parent)


def _server(
    section: reader.Section,
    source: _Source,
    env: Mapping[str, str],
    overrides: Mapping[str, Any],
) -> ServerConfig:
    problems = section.problems
    usual = ServerConfig()
    host = overrides["host"] or env.get("FW_HOST") or section.take("host", reader.text, usual.host)
    number = section.take("port", reader.port, usual.port)
    if overrides["port"] is not None or env.get("FW_PORT"):
        number = _port(overrides["port"] if overrides["port"] is not None else env["FW_PORT"], problems)
    folder = section.take("state_dir", reader.text, usual.state_dir)
    state = overrides["state_dir"] or env.get("FW_STATE_DIR") or str(source.base / folder)
    file = section.take("key_file", reader.text, "")
    key = Secret(env["FW_API_KEY"].strip()) if env.get("FW_API_KEY", "").strip() else None
    if key is None and file:
        try:
            key = read_secret(source.base / file)
        except reader.Wrong as wrong:
            problems.add(("server", "key_file"), str(wrong), wrong.hint)
    workers = section.take("workers", reader.whole, usual.workers)
    server = ServerConfig(
        host=host,
        port=number,
        api_key=key,
        max_body=section.take("max_body", reader.size, usual.max_body),
        max_timeout=section.take("max_timeout", reader.seconds, usual.max_timeout),
        drain=section.take("drain", reader.seconds, usual.drain),
        max_in_flight=section.take("max_in_flight", reader.whole, usual.max_in_flight),
        max_connections=section.take("max_connections", reader.whole, usual.max_connections),
        max_connections_per_address=section.take(
            "max_connections_per_address", reader.whole, usual.max_connections_per_address
        ),
        max_bodies=section.take("max_bodies", reader.size, usual.max_bodies),
        max_lag=section.take("max_lag", reader.seconds, usual.max_lag),
        workers=overrides["workers"] or workers,
        idempotency=section.take("idempotency", reader.one_of(("memory", "disk")), usual.idempotency),
        stand_in=section.take("stand_in", reader.text, None),
        state_dir=state,
    )
    section.close()
    return server


def _port(value: Any, problems: Problems) -> int:
    try:
        return reader.port(int(value))
    except (ValueError, TypeError):
        problems.found.append(Problem("FW_PORT or --port", f"must be a port from 0 to 65535, not {value!r}."))
        return 0


def _telemetry(section: reader.Section, source: _Source, env: Mapping[str, str], state_dir: str) -> TelemetryConfig:
    usual = TelemetryConfig()
    named = section.take("traces_file", reader.text, "")
    file = env.get("FW_TRACES_FILE") or (
        str(source.base / named) if named else str(FilePath(state_dir) / "traces.jsonl")
    )
    telemetry = TelemetryConfig(
        traces_file=file,
        service_name=env.get("OTEL_SERVICE_NAME") or section.take("service_name", reader.text, usual.service_name),
        environment=section.take("environment", reader.text, usual.environment),
        capture_content=section.take("capture_content", reader.flag, usual.capture_content),
        text_features=section.take("text_features", reader.flag, usual.text_features),
    )
    section.close()
    return telemetry


def _policies(value: Any, source: _Source, reading: Reading, stand_in: str | None) -> dict[str, Policy]:
    targets = tuple(endpoint.target for endpoint in reading.endpoints)
    problems = reading.problems
    if source.lines == {} and value is None:  # the built-in config brings the built-in policies
        value = list(builtin_names())
    policies = read_policies(value, source.base, problems)
    if targets and DEFAULT not in policies:
        ready = [
            target.model
            for target in targets
            if target.deployment not in reading.blocked and not target.tags & {"local"}
        ]
        baseline = (ready or [targets[0].model])[0]
        policies[DEFAULT] = fallback_policy(baseline)
        problems.assumptions.append(f"no policy is called `default`: agents without one of their own get {baseline}.")
    if not problems.found:
        check_policies(policies, targets, problems, stand_in=stand_in)
    return policies


def _checks(server: ServerConfig, targets: tuple[Target, ...], problems: Problems) -> None:
    """What only shows when everything has been read."""
    names = {target.model for target in targets}
    if server.stand_in and server.stand_in not in names:
        problems.add(("server", "stand_in"), f"there is no model `{server.stand_in}`.", near(server.stand_in, names))
    if not loopback(server.host):
        reason = weakness(server.api_key.reveal()) if server.api_key else "there is none"
        if reason:
            message = f"listening on {server.host}, where others can reach it, needs a strong FW_API_KEY: {reason}."
            problems.add(("server", "host"), message, f"Run `{NEW_KEY}`, or listen on 127.0.0.1.")
    date = today()
    for target in targets:
        if target.deprecated_on is not None and target.deprecated_on <= date:
            problems.warnings.append(
                f"{target.deployment}: {target.provider} retired this model on {target.deprecated_on}."
            )
        elif target.deprecated_on is not None:
            problems.warnings.append(
                f"{target.deployment}: {target.provider} retires this model on {target.deprecated_on}."
            )


def _digest(value: Any, server: ServerConfig, targets: tuple[Target, ...], policies: Mapping[str, Policy]) -> str:
    """Short hash of what was decided: the document, where it listens, and every policy's own digest. No secret goes in."""
    plain = [
        asdict(target) | {"capabilities": sorted(target.capabilities), "tags": sorted(target.tags)}
        for target in targets
    ]
    parts = [json.dumps([value, plain], sort_keys=True, default=str), server.host, str(server.port)]
    parts += [f"{name} {policy.digest}" for name, policy in sorted(policies.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
