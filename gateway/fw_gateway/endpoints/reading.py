"""`/v1/models`, `/v1/decisions/{id}`, `/v1/runs/{id}`, `/v1/outcomes`: what is known, and what is reported later."""

import asyncio
from typing import Any

from fw_gateway.config import Config
from fw_gateway.endpoints.request import MAX_NAME, Request, parse_object, reply
from fw_gateway.errors import BadRequest, UnknownModel
from fw_gateway.ledger import Ledger, Report, explained
from fw_gateway.state import Judged, Worlds
from fw_gateway.telemetry import Recorder
from fw_gateway.values import Reply
from fw_policies import explain
from fw_policies.estimate import OutcomeSeen

_VERSION = "anthropic-version"
"""A header by which Anthropic's clients are known."""
WAIT = 2.0
"""Seconds to wait for rows that are still on their way to the ledger."""


class Unknown(UnknownModel):
    """Nothing is known under that id."""

    code = "not_found"


class Reading:
    """The endpoints that read, and the one that takes outcomes."""

    def __init__(self, config: Config, ledger: Ledger, recorder: Recorder, worlds: Worlds) -> None:
        """`recorder` is flushed before the ledger is read."""
        self._config, self._ledger, self._recorder, self._worlds = config, ledger, recorder, worlds
        names = ("auto", *dict.fromkeys(e.target.model for e in config.endpoints if not e.forward_name))
        self._models = {name: {"id": name, "object": "model", "created": 0, "owned_by": "fw"} for name in names}
        self._anthropic = {
            name: {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
            for name in names
        }

    async def models(self, request: Request) -> Reply:
        """The names that `model` may have, in the shape of the protocol that is asked in."""
        if _VERSION in request.headers:
            rows = list(self._anthropic.values())
            ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]}
            return reply({"data": rows, "has_more": False, **ends})
        return reply({"object": "list", "data": list(self._models.values())})

    async def model(self, request: Request) -> Reply:
        """One of those names.

        Raises:
            UnknownModel: there is none like it.
        """
        name = request.parameters["id"]
        found = (self._anthropic if _VERSION in request.headers else self._models).get(name)
        if found is None:
            raise UnknownModel(f"There is no model `{name[:100]}`.", hint="GET /v1/models lists them.", param="model")
        return reply(found)

    async def decision(self, request: Request) -> Reply:
        """One call: its plan, and what became of it."""
        name = request.parameters["id"]
        await asyncio.to_thread(self._recorder.flush, WAIT)
        found = await asyncio.to_thread(self._ledger.decision, name)
        if found is None:
            raise Unknown(f"There is no decision `{name[:64]}`.", hint="x-fw-decision-id of an answer names one.")
        trusted = await asyncio.to_thread(explained.trust, self._ledger, found.plan)
        mapping = explained.decision(found, trusted)
        text = explain.text(mapping) if found.plan is not None else "no plan was made for this call"
        return reply({"text": text, "decision": mapping})

    async def run(self, request: Request) -> Reply:
        """A whole run as a tree."""
        name = request.parameters["id"]
        await asyncio.to_thread(self._recorder.flush, WAIT)
        found = await asyncio.to_thread(self._ledger.run, name)
        if not found:
            raise Unknown(f"There is no run `{name[:64]}`.", hint="x-fw-run of a request names one.")
        mapping = explained.run(name, found)
        return reply({"text": explain.run_text(mapping), "run": mapping})

    async def outcomes(self, request: Request) -> Reply:
        """Store outcomes, once, and learn from those that name a step or a decision."""
        report = report_of(parse_object(request.body))
        await asyncio.to_thread(self._recorder.flush, WAIT)
        stored = await asyncio.to_thread(self._ledger.record_outcome, report)
        if report.scope == "decision" or report.step:
            # A run's calls of one step share its outcome: counted for each, one run would weigh like many.
            for agent, step, model in dict.fromkeys((one.agent, one.step or "*", one.model) for one in stored.served):
                for name in stored.names:
                    self._worlds.outcome(OutcomeSeen(agent, step, model, name, report.outcomes[name]))
        judged = [Judged(one.policy, one.step or "*", one.model, one.explored) for one in stored.served]
        values = {name: report.outcomes[name] for name in stored.names}
        self._worlds.certified(judged, values, of="run" if report.scope == "run" and not report.step else "step")
        return reply({"stored": stored.stored, "duplicate": stored.duplicate})


def report_of(fields: dict[str, Any]) -> Report:
    """Outcomes as reported, checked.

    Raises:
        BadRequest: what is wrong, with the field's name.
    """
    found = fields.get("outcomes")
    if not isinstance(found, dict) or not found:
        hint = 'Send {"outcomes": {"tests_pass": true}, "run": "…"}.'
        raise BadRequest("`outcomes` must be an object of names and values.", hint=hint, param="outcomes")
    if len(found) > 32:
        raise BadRequest("`outcomes` holds more than 32 names.", param="outcomes")
    values = {}
    for name, value in found.items():
        if not isinstance(value, (bool, int, float)) or abs(value) > 1e12:
            raise BadRequest(f"outcomes.{name} must be true, false or a number.", param=f"outcomes.{name}")
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise BadRequest(
                f"The name of an outcome must be printable and 1 to {MAX_NAME} characters long.", param="outcomes"
            )
        values[name] = float(value)
    texts = {name: _text(fields, name) for name in ("run", "decision", "step", "agent", "source", "version", "key")}
    if bool(texts["run"]) == bool(texts["decision"]):
        raise BadRequest("An outcome belongs to one `run` or to one `decision`.", param="run")
    scope = "run" if texts["run"] else "decision"
    rest = {name: texts[name] for name in ("step", "agent", "source", "version", "key")}
    return Report(scope, texts[scope], values, **rest)  # type: ignore[arg-type]


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise BadRequest(f"`{name}` must be a text of at most {MAX_NAME} characters.", param=name)
    return value
