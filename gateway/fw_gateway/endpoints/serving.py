"""Chat in three protocols, embeddings, counting of tokens, `/v1/explain`: what needs the engine."""

import asyncio
import re
from collections.abc import Callable

from fw_gateway.config import Config
from fw_gateway.endpoints.asking import KINDS
from fw_gateway.endpoints.calls import Resolver, call_of, fields_of, named, read
from fw_gateway.endpoints.large import LARGE
from fw_gateway.endpoints.request import Request, parse_object, reply, want
from fw_gateway.engine import Engine
from fw_gateway.engine.facts import tokens
from fw_gateway.errors import BadRequest, UnknownRoute, WrongMethod
from fw_gateway.ledger import Ledger, explained
from fw_gateway.providers.protocols import CHAT, COMPLETIONS, COUNT, EMBEDDINGS, MESSAGES, OPAQUE, RESPONSES
from fw_gateway.values import Call, Reply, Trace
from fw_policies import explain
from fw_policies.spec import Policy

STORED = ("previous_response_id", "conversation", "background", "prompt")
"""Members of a Responses request that mean something only to the server that keeps what they name."""
OURS = frozenset({"models", "decisions", "runs"})
"""What is only read here, and never passed on."""
_TAIL = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_.:-]*[A-Za-z0-9_-])*")


class Serving:
    """The endpoints that plan."""

    def __init__(self, config: Config, engine: Engine, ledger: Ledger, sampled: Callable[[Trace], bool]) -> None:
        """`engine` answers what these have read; `sampled` says whether a trace is kept, which upstreams are told too."""
        self._engine = engine
        self._ledger = ledger
        self._sampled = sampled
        self._resolver = Resolver(config)
        self._locks = config.locks
        self._longest = config.server.max_timeout
        self._alone = config.server.workers == 1
        speaking = [(endpoint.target.model, endpoint.speaks) for endpoint in config.endpoints]
        self._counting = frozenset(model for model, spoken in speaking if COUNT in spoken)
        self._deaf = frozenset(model for model, spoken in speaking if RESPONSES not in spoken)
        """Models with a place that stores no responses."""

    async def chat(self, request: Request) -> Reply:
        """Serve a chat completion."""
        call, policy, model = await self._read(request, CHAT)
        return await self._engine.answer(call, policy, model)

    async def responses(self, request: Request) -> Reply:
        """Serve OpenAI's Responses."""
        call, policy, model = await self._read(request, RESPONSES)
        stored = next((name for name in STORED if call.fields.get(name)), None)
        if stored is not None and (model is None or model in self._deaf):
            hint = "Send the whole conversation in `input`, or name a model whose upstream stores responses."
            raise BadRequest(
                f"`{stored}` needs an upstream that stores responses, always the same.", hint=hint, param=stored
            )
        return await self._engine.answer(call, policy, model)

    async def messages(self, request: Request) -> Reply:
        """Serve Anthropic's Messages."""
        call, policy, model = await self._read(request, MESSAGES)
        return await self._engine.answer(call, policy, model)

    async def count_tokens(self, request: Request) -> Reply:
        """Count the tokens of a message that is not sent: the upstream does where it can, else it is an estimate and says so."""
        call, policy, model = await self._read(request, COUNT)
        if model in self._counting:
            return await self._engine.answer(call, policy, model)
        counted = reply({"input_tokens": max(1, tokens(call))})
        counted.headers["x-fw-estimated"] = "input_tokens"
        return counted

    async def completions(self, request: Request) -> Reply:
        """Serve completions, always of a pinned model."""
        call, policy, model = await self._read(request, COMPLETIONS)
        return await self._engine.answer(call, policy, model)

    async def anything(self, request: Request) -> Reply:
        """Pass on what is served under no route of ours, to the deployments of the model that it names.

        Raises:
            UnknownRoute: no upstream could have such a path, or no model is named.
            WrongMethod: it is a route of ours.
        """
        tail = request.parameters["tail"]
        if tail.partition("/")[0] in OURS:
            raise WrongMethod(f"POST is not served at /v1/{tail[:100]}.", hint="Use GET.")
        if not _TAIL.fullmatch(tail) or b'"model"' not in request.body:
            hint = "What is not served here is passed on to the deployments of the `model` that the body names."
            raise UnknownRoute(f"Nothing is served at /v1/{tail[:100]}.", hint=hint)
        call, policy, model = await self._read(request, OPAQUE)
        return await self._engine.answer(call, policy, model)

    async def embeddings(self, request: Request) -> Reply:
        """Serve embeddings, always of a pinned model."""
        call, policy, model = await self._read(request, EMBEDDINGS)
        return await self._engine.answer(call, policy, model)

    async def verdict(self, request: Request) -> Reply:
        """The client's own verdict on an answer; rejected, the next target's answer is the reply."""
        fields = parse_object(request.body)
        accept = want(fields, "accept", bool, "true or false", needed=True)
        number = want(fields, "attempt", int, "a whole number")
        name = request.parameters["id"]
        return await self._engine.verdict(name, accept=accept, number=number, key_id=request.key_id)

    async def explain(self, request: Request) -> Reply:
        """The plan for a chat request; nothing is dispatched."""
        call, policy, model = await self._read(request, CHAT)
        plan = self._engine.plan(call, policy, model)
        plan = await asyncio.to_thread(explained.covered, self._ledger, plan, self._locks.get(plan.policy))
        trusted = await asyncio.to_thread(explained.trust, self._ledger, plan)
        mapping = explain.mapping(plan, decision_id=call.decision_id, trust=trusted)
        return reply({"text": explain.text(mapping), "plan": mapping})

    async def _read(self, request: Request, protocol: str) -> tuple[Call, Policy | None, str | None]:
        kind = KINDS[protocol]
        fields = fields_of(request, kind) if len(request.body) < LARGE else await read(request, kind)
        model = named(fields, kind)
        call = call_of(request, fields, model, kind, longest=self._longest)
        who, policy, pinned = self._resolver.resolve(model, call.identity)
        call.identity = who
        if call.checks and not self._alone:
            message = (
                "x-fw-verify: this server runs several workers, and a verdict may reach another than the answer's."
            )
            raise BadRequest(message, hint="Ask a server with one worker.", param="x-fw-verify")
        if self._sampled(call.trace) != call.trace.sampled:
            call.trace = call.trace._replace(flags=call.trace.flags ^ 1)
        return call, policy, pinned
