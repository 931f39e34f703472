"""The `models` section: each deployment becomes one Endpoint, with what the catalog knows filled in."""

import importlib.util
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from fw_gateway.catalog import local, models
from fw_gateway.catalog.providers import providers
from fw_gateway.catalog.rows import ModelFacts, ProviderRow
from fw_gateway.config import reader
from fw_gateway.config.model import Endpoint, Secret
from fw_gateway.config.problems import Path, Problems, near
from fw_gateway.config.secrets import read_secret
from fw_policies.model import MachinePrice, Target, TokenPrice

_NAME = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/*-]*")
_ENGINE = frozenset({"chat", "stream", "json_schema", "json_mode"})
"""What vLLM, SGLang and llama.cpp do for every model that they can run; the rest depends on the model and on flags."""
_DEFAULTS: Mapping[str, frozenset[str]] = {"vllm": _ENGINE, "sglang": _ENGINE, "llamacpp": _ENGINE}
_BASE = frozenset({"chat", "stream"})
TRANSLATED = frozenset({"openai_chat", "openai_responses", "anthropic_messages"})
"""Protocols of chat: whatever else a caller speaks is translated to one of them."""
PROTOCOLS = (*sorted(TRANSLATED), "openai_embeddings", "anthropic_count_tokens")


@dataclass
class Reading:
    """What the `models` section gives, as it is being read."""

    env: Mapping[str, str]
    base: FilePath
    """Folder that relative paths start from."""
    problems: Problems
    endpoints: list[Endpoint] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shared:
    """What a model says for all of its deployments."""

    capabilities: frozenset[str] | None
    context: int | None
    max_output: int | None
    tags: frozenset[str]


def read_models(value: Any, reading: Reading) -> None:
    """Every deployment of every model, in the file's order."""
    if not isinstance(value, Mapping):
        reading.problems.add(("models",), f"must be a mapping of model names, not {reader.kind(value)}.")
        return
    for name, entry in value.items():
        path: Path = ("models", str(name))
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "auto" or "*" in name[:-1]:
            hint = "Letters, digits and . _ : / - ; `auto` is taken; `*` may only end a pattern, as in `fx-*`."
            reading.problems.add(path, f"`{name}` cannot be a model's name.", hint)
            continue
        _read_model(name, reader.Section(entry, path, reading.problems), reading)
    _unique(reading)


def _read_model(name: str, section: reader.Section, reading: Reading) -> None:
    shared = Shared(
        section.take("capabilities", _capabilities, None),
        section.take("context", reader.whole, None),
        section.take("max_output", reader.whole, None),
        frozenset(section.take("tags", reader.texts, list[str]())),
    )
    deployments = section.raw("deployments")
    section.close()
    if not isinstance(deployments, list) or not deployments:
        hint = f"Write `{name}: {{deployments: [{{provider: openai}}]}}`."
        reading.problems.add((*section.path, "deployments"), "must list at least one deployment.", hint)
        return
    for index, entry in enumerate(deployments):
        _read_deployment(
            name, reader.Section(entry, (*section.path, "deployments", index), reading.problems), shared, reading
        )


def _capabilities(value: Any) -> frozenset[str]:
    one = reader.one_of(models.CAPABILITIES)
    return frozenset(one(item) for item in reader.texts(value))


def _read_deployment(name: str, section: reader.Section, shared: Shared, reading: Reading) -> None:
    problems = reading.problems
    before = len(problems.found)
    provider = section.take("provider", reader.one_of(providers), "")
    if not provider:
        if "provider" not in section:
            problems.add((*section.path, "provider"), "is missing.", f"One of: {', '.join(providers)}.")
        return
    row = providers[provider]
    url = section.take("url", _url, row.base_url)
    place = section.take("name", reader.text, "")
    deployment = f"{name}@{place or _place(row, url)}"
    key, missing = _key(section, row, reading)
    target = _target(deployment, row, section, shared)
    endpoint = Endpoint(
        target=target,
        row=row,
        url=url,
        key=key,
        ttft_limit=section.take("ttft_limit", reader.seconds, row.ttft_limit),
        stall_limit=section.take("stall_limit", reader.seconds, 60.0),
        answer_limit=section.take("answer_limit", reader.seconds, None),
        embedded=target.upstream_model if row.name == "embedded" else "",
        traceparent=section.take("traceparent", reader.flag, row.self_hosted),
        forward_name=name.endswith("*"),
        speaks=section.take("speaks", _protocols, row.speaks),
        capacity=section.take("capacity", reader.tokens_per_second, None),
        priority=section.take("priority", reader.flag, False),
        max_concurrency=section.take("max_concurrency", reader.whole, None),
    )
    section.close()
    _demand(endpoint, section)
    if len(problems.found) > before:
        return
    reading.endpoints.append(endpoint)
    if missing:
        reading.blocked[deployment] = "no_credential"
        if missing != row.key_env:  # a key that the file itself names is expected to be there
            problems.warn(section.path, f"{deployment} is left out: no {missing} in the environment.")
    elif row.bridge and not _bridged(reading.env):
        reading.blocked[deployment] = "no_bridge"
        problems.warn(
            section.path,
            f"{deployment} is left out: it is reached through litellm, which is not here; see `fw doctor`.",
        )


def _bridged(env: Mapping[str, str]) -> bool:
    """Whether there is a litellm to reach bridged providers with."""
    return bool(env.get("FW_LITELLM_PYTHON")) or importlib.util.find_spec("litellm") is not None


def _demand(endpoint: Endpoint, section: reader.Section) -> None:
    """What a provider cannot do without."""
    row, problems = endpoint.row, section.problems
    if endpoint.capacity is not None and not row.self_hosted:
        hint = "Leave it out: a provider's limits come with its answers."
        problems.add((*section.path, "capacity"), f"{row.title} is not self-hosted: its machines are not yours.", hint)
    if not endpoint.url and not row.bridge and row.name != "embedded" and "url" not in section:
        hint = "Write where it listens, as in `url: http://gpu-1:8000/v1`."
        problems.add((*section.path, "url"), f"is missing: {row.title} may be anywhere.", hint)
    if row.name == "embedded":
        if endpoint.url:
            hint = "For a llama.cpp server of your own use `provider: llamacpp`."
            problems.add((*section.path, "url"), "an embedded model has no url: this gateway runs it itself.", hint)
        if endpoint.embedded not in local.local_models:
            message = f"there is no embedded model `{endpoint.embedded}`."
            problems.add((*section.path, "model"), message, near(endpoint.embedded, local.local_models))


def _protocols(value: Any) -> tuple[str, ...]:
    one = reader.one_of(PROTOCOLS)
    found = tuple(dict.fromkeys(one(item) for item in reader.texts(value)))
    if not set(found) & TRANSLATED:
        raise reader.Wrong("names no protocol of chat.", f"One of: {', '.join(sorted(TRANSLATED))}.")
    return found


def _url(value: Any) -> str:
    address = reader.text(value).rstrip("/")
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good, parts = False, urlsplit("")
    if not good:
        raise reader.Wrong(f"`{address}` is not an http(s) url.", "Write it whole, as in `http://gpu-1:8000/v1`.")
    if parts.username or parts.password:
        raise reader.Wrong("a url must not carry a password.", "Use `key_env` or `key_file`.")
    if parts.path.endswith("/chat/completions") or parts.query or parts.fragment:
        raise reader.Wrong(
            f"`{address}` is not a base url.", "End it before `/chat/completions`, as in `http://gpu-1:8000/v1`."
        )
    return address


def _place(row: ProviderRow, url: str) -> str:
    """Where a deployment is, for its id: the host of a self-hosted one when that says anything, else the provider."""
    host = (urlsplit(url).hostname or "") if url and row.self_hosted and url != row.base_url else ""
    if not host or host == "localhost":
        return row.name
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return row.name


def _key(section: reader.Section, row: ProviderRow, reading: Reading) -> tuple[Secret | None, str]:
    """(the key, the variable that should hold it and does not)."""
    file = section.take("key_file", reader.text, "")
    named = section.take("key_env", _variable, "")
    if file and named:
        section.problems.add((*section.path, "key_file"), "give either `key_env` or `key_file`, not both.")
    if file:
        try:
            return read_secret(reading.base / file), ""
        except reader.Wrong as wrong:
            section.problems.add((*section.path, "key_file"), str(wrong), wrong.hint)
            return None, ""
    variable = named or row.key_env
    value = reading.env.get(variable, "").strip() if variable else ""
    return (Secret(value), "") if value else (None, variable)


def _variable(value: Any) -> str:
    name = reader.text(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # Most likely somebody put the key itself here: it must not be printed.
        raise reader.Wrong(
            "is not the name of an environment variable.", "Write the variable's name, never the key itself."
        )
    return name


def _target(deployment: str, row: ProviderRow, section: reader.Section, shared: Shared) -> Target:
    name = deployment.rpartition("@")[0]
    upstream = section.take("model", reader.text, name)
    facts = _facts(row, upstream)
    capabilities = section.take("capabilities", _capabilities, None)
    for stated in (shared.capabilities, facts.capabilities or None, _DEFAULTS.get(row.name, _BASE)):
        capabilities = stated if capabilities is None else capabilities
    return Target(
        model=name,
        deployment=deployment,
        provider=row.name,
        upstream_model=upstream,
        price=_price(section, row, facts, deployment),
        capabilities=capabilities or _BASE,
        context=section.take("context", reader.whole, shared.context or facts.context),
        max_output=section.take("max_output", reader.whole, shared.max_output or facts.max_output),
        region=section.take("region", reader.text, None),
        zone=section.take("zone", reader.text, None),
        self_hosted=row.self_hosted,
        tags=shared.tags | frozenset(section.take("tags", reader.texts, list[str]())),
        deprecated_on=facts.deprecated_on,
        order=int(section.path[-1]),
    )


def _facts(row: ProviderRow, upstream: str) -> ModelFacts:
    known = local.local_models.get(upstream) if row.name == "embedded" else None
    if known is not None:
        return ModelFacts(row.name, upstream, known.capabilities, known.context, known.max_output)
    return models.lookup(row.name, upstream) or ModelFacts(row.name, upstream)


def _price(
    section: reader.Section, row: ProviderRow, facts: ModelFacts, deployment: str
) -> TokenPrice | MachinePrice | None:
    hour = section.take("machine_hour", reader.usd, None)
    stated = section.raw("price")
    if hour is not None and stated is not None:
        section.problems.add((*section.path, "price"), "give either `price` or `machine_hour`, not both.")
    if stated is not None:
        return _tokens(reader.Section(stated, (*section.path, "price"), section.problems))
    if hour is not None:
        return MachinePrice(hour)
    if row.name == "embedded":
        note = f"{deployment}: an hour of this machine is taken to cost {local.ASSUMED_HOUR}; `machine_hour` says otherwise."
        section.problems.assumptions.append(note)
        return MachinePrice(reader.usd(local.ASSUMED_HOUR))
    if row.self_hosted and "machine_hour" not in section:
        section.problems.warn(section.path, f"{deployment} has no `machine_hour`: what a call costs there is unknown.")
    if models.tiered(row.name, facts.model):
        section.problems.tiered.append(deployment)
    return facts.price


def _tokens(section: reader.Section) -> TokenPrice | None:
    price = {
        key: section.take(key, reader.usd_per_mtok, None) for key in ("input", "output", "cached_input", "cache_write")
    }
    section.close()
    for key in ("input", "output"):
        if key not in section:
            section.problems.add(
                (*section.path, key), "is missing.", "Write `price: {input: 2 USD/Mtok, output: 8 USD/Mtok}`."
            )
    if price["input"] is None or price["output"] is None:
        return None
    return TokenPrice(price["input"], price["output"], price["cached_input"], price["cache_write"])


def _unique(reading: Reading) -> None:
    seen: set[str] = set()
    for endpoint in reading.endpoints:
        deployment = endpoint.target.deployment
        if deployment in seen:
            path: Path = ("models", endpoint.target.model, "deployments")
            hint = "Give each a `name`, as in `name: rack-2`."
            reading.problems.add(path, f"two deployments are called `{deployment}`.", hint)
        seen.add(deployment)
