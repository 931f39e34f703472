"""From a request to a `Call`: the body checked as far as the gateway reads it, the model resolved to a policy or to a pinned name."""

import difflib
from fnmatch import fnmatchcase
from typing import Any

from fw_gateway import clock
from fw_gateway.config import Config
from fw_gateway.endpoints.asking import Kind, asked
from fw_gateway.endpoints.large import parsed
from fw_gateway.endpoints.request import MAX_NAME, Request, identity, parse_object, timeout, trace, want
from fw_gateway.errors import BadRequest, UnknownModel
from fw_gateway.providers.dialects.opaque.relay import form_model
from fw_gateway.providers.protocols import OPAQUE, protocols
from fw_gateway.values import Call, Identity
from fw_policies.spec import Policy, checks

AUTO = "auto"
PINNED = {
    "embeddings": "`auto` is refused, because vectors of two models do not mix.",
    "text_completion": "no policy speaks of completions.",
    "fw.relay": "no policy speaks of what is passed on as it is.",
}
"""Operations that are never `auto`, and why."""
DEFAULT = "default"


class Resolver:
    """Knows which names are models, agents and policies."""

    def __init__(self, config: Config) -> None:
        """Index the config's names."""
        self._config = config
        names = dict.fromkeys(endpoint.target.model for endpoint in config.endpoints)
        self.exact = frozenset(name for name in names if "*" not in name)
        self._patterns = [name for name in names if "*" in name]

    def resolve(self, model: str, who: Identity) -> tuple[Identity, Policy | None, str | None]:
        """Who is calling, with which policy, or pinned to which configured model.

        Raises:
            UnknownModel: no model, agent or pattern has that name.
            BadRequest: the named policy does not exist.
        """
        if model == AUTO:
            return who, self.policy(who), None
        if who.policy:
            self.policy(who)  # a claim that cannot be met is refused, even where a pinned name makes it idle
        if model in self.exact:
            return who, None, model
        for pattern in self._patterns:
            if fnmatchcase(model, pattern):
                return who, None, pattern
        agent, slash, step = model.partition("/")
        if slash and step and (agent in self._config.policies or agent in self._config.agents):
            who = who._replace(agent=who.agent or agent, step=who.step or step, policy=who.policy or self._for(agent))
            return who, self.policy(who), None
        near = difflib.get_close_matches(model, [*self.exact, AUTO, *self._config.policies], 3, 0.6)
        hint = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else "GET /v1/models lists them; `auto` lets the policy choose."
        )
        raise UnknownModel(f"There is no model `{model[:100]}`.", hint=hint, param="model")

    def _for(self, agent: str) -> str:
        return self._config.agents.get(agent) or (agent if agent in self._config.policies else DEFAULT)

    def policy(self, who: Identity) -> Policy:
        """The policy of a caller: named, or its agent's, or the default.

        Raises:
            BadRequest: there is none of that name.
        """
        name = who.policy or self._for(who.agent)
        found = self._config.policies.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._config.policies, 3, 0.5)
            known = near or sorted(self._config.policies)[:5]
            hint = f"Known: {', '.join(known)}." if known else "The config names no policies."
            raise BadRequest(f"x-fw-policy: there is no policy `{name}`.", hint=hint, param="x-fw-policy")
        return found


async def read(request: Request, kind: Kind) -> dict[str, Any]:
    """The fields of a large request: a body of long texts is read in turns with other work.

    Raises:
        BadRequest: what is wrong, with the field's name.
    """
    if _is_form(request, kind):
        return fields_of(request, kind)
    return await parsed(request.body, lambda text: parse_object(text, kind.count))


def fields_of(request: Request, kind: Kind) -> dict[str, Any]:
    """The fields of a request, at once.

    Raises:
        BadRequest: what is wrong, with the field's name.
    """
    if _is_form(request, kind):
        return {"model": form_model(request.body) or None}
    return parse_object(request.body, kind.count)


def _is_form(request: Request, kind: Kind) -> bool:
    if kind.protocol != OPAQUE:
        return False
    return request.headers.get("Content-Type", "").lower().startswith("multipart/form-data")


def named(fields: dict[str, Any], kind: Kind) -> str:
    """The model that a request names; all else that it says is checked too.

    Raises:
        BadRequest: what is wrong, with the field's name.
    """
    model = str(want(fields, "model", str, "a text", needed=True))
    if len(model) > MAX_NAME:
        raise BadRequest(f"`model` is longer than {MAX_NAME} characters.", param="model")
    kind.check(fields)
    if model == AUTO and kind.operation in PINNED:
        raise BadRequest(f"A model must be named here: {PINNED[kind.operation]}", param="model")
    return model


def _plain(text: str) -> str:
    return text if text.isascii() else text.encode("ascii", "replace").decode()


def _checks(value: str | None) -> tuple[str, ...]:
    if not value:
        return ()
    try:
        return (value.strip() if value.strip() == checks.ANY_CHECK else checks.spelt(value),)
    except ValueError as fault:
        hint = "Name the one check that this client runs, or `*`."
        raise BadRequest(f"x-fw-verify: {fault}.", hint=hint, param="x-fw-verify") from None


def call_of(request: Request, fields: dict[str, Any], model: str, kind: Kind, *, longest: float) -> Call:
    """The call, not yet resolved.

    Raises:
        BadRequest: a header cannot be read.
    """
    headers = request.headers
    options = fields.get("stream_options")
    context = trace(headers)
    chat = kind.operation == "chat"
    sent = {name: value for name in protocols[kind.protocol].passed if (value := headers.get(name))}
    return Call(
        decision_id=clock.ulid(),
        request_id=request.request_id,
        operation=kind.operation,
        route=request.path,
        body=request.body,
        fields=fields,
        model=model,
        protocol=kind.protocol,
        asked=asked(kind, fields),
        stream=bool(fields.get("stream")) and kind.streams,
        wants_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        identity=identity(headers),
        trace=context,
        span_id=context.parent_id if request.embedded and context.parent_id else clock.span_id(),
        started_ns=request.started_ns,
        started=request.started,
        deadline=request.started + timeout(headers, longest),
        needs=kind.needs(fields),
        checks=_checks(headers.get("x-fw-verify")) if chat else (),
        receipt=headers.get("x-fw-receipt") == "1",
        embedded=request.embedded,
        path="/" + request.parameters["tail"] if kind.protocol == OPAQUE else "",
        passed=sent,
        user_agent=_plain(headers.get("user-agent", "")),
        key_id=request.key_id,
        scheme=request.scheme,
        server=request.server,
    )
