"""One record as measurements. Metrics see every call, sampled or not; exemplars point only at spans that are kept."""

from collections.abc import Collection, Mapping

from fw_gateway.telemetry import attributes, metrics, spans
from fw_gateway.telemetry.metrics import Metrics
from fw_gateway.telemetry.otlp import Value
from fw_gateway.values import Attempt, Call, Record
from fw_policies.model import NANO_USD, Target


class Measurer:
    """Feeds records to the tables; knows which model names are the operator's own (any other becomes `other`)."""

    def __init__(
        self,
        tables: Metrics,
        *,
        providers: Mapping[str, str],
        models: Collection[str],
        upstream: Collection[str],
        version: str,
    ) -> None:
        """`models`: names that callers may ask for; `upstream`: exact names sent upstream; `version`: the estimator's."""
        self._tables = tables
        self._providers = providers
        self._models = frozenset(models) | {"auto"}
        self._upstream = frozenset(upstream)
        self._version = version
        self._operation = tables.table(metrics.OPERATION_DURATION)
        self._first = tables.table(metrics.TIME_TO_FIRST_CHUNK)
        self._tokens = tables.table(metrics.TOKEN_USAGE)
        self._attempts = tables.table(metrics.ATTEMPTS)
        self._http = tables.table(metrics.HTTP_DURATION)
        self._call = tables.table(metrics.CALL_DURATION)
        self._overhead = tables.table(metrics.CALL_OVERHEAD)
        self._cost = tables.table(metrics.CALL_COST)
        self._decisions = tables.table(metrics.DECISIONS)
        self._route = tables.table(metrics.ROUTE_DURATION)
        self._ratio = tables.table(metrics.ESTIMATE_ERROR)

    def record(self, record: Record, rolled: Mapping[str, Value], *, sampled: bool) -> None:
        """Count everything there is to count in one call; `rolled` is its `attributes.rollup`."""
        call = record.call
        duration = max(0.0, record.ended - call.started)
        error = attributes.error_type(record.error_type)
        now = spans.at(call, record.ended)
        served = record.served or (record.attempts[-1] if record.attempts else None)
        span_id = served.span_id if served is not None else call.span_id
        if call.shadow is not None:  # nobody's call: its attempt alone is counted
            for attempt in record.attempts:
                self._attempt(attempt, record, now, sampled=sampled)
            return
        exemplar = (duration, now, call.trace.trace_id, span_id) if sampled else None
        labels = (self._alias(call), record.outcome, error)
        self._call.observe(labels, duration, exemplar)
        overhead = float(rolled["fw.call.overhead.duration"])  # type: ignore[arg-type]
        self._overhead.observe(labels, overhead, (overhead, now, call.trace.trace_id, span_id) if sampled else None)
        if not call.embedded:
            self._http.observe(("POST", call.route, record.status), duration, exemplar)
        if served is not None and (cost := record.cost) is not None:
            self._cost.add((self._provider(served.target), self._model(served.target)), cost / NANO_USD)
        if record.plan is not None:
            plan = record.plan
            chosen = self._model(plan.targets[0]) if plan.targets else ""
            self._decisions.add((plan.policy or plan.reason, plan.version, chosen, plan.reason))
            self._route.observe((plan.policy or plan.reason,), record.routing)
            self._errors(record, duration)
        for attempt in record.attempts:
            self._attempt(attempt, record, now, sampled=sampled)

    def _attempt(self, attempt: Attempt, record: Record, now: int, *, sampled: bool) -> None:
        call, target = record.call, attempt.target
        error = attributes.error_type(attempt.error_type)
        provider, model = self._provider(target), self._bounded(target.upstream_model)
        self._attempts.add((attempt.reason, attempt.outcome or "error", provider, model, error))
        answered = attempt.response_model
        who = (
            call.operation,
            provider,
            model,
            self._bounded(answered) if answered else "",
            attempt.server[0],
            attempt.server[1] or "",
        )
        trace_id, span_id = call.trace.trace_id, attempt.span_id
        duration = max(0.0, (attempt.ended if attempt.ended is not None else record.ended) - attempt.started)
        self._operation.observe((*who, error), duration, (duration, now, trace_id, span_id) if sampled else None)
        if call.stream and attempt.ttft is not None:
            self._first.observe(who, attempt.ttft, (attempt.ttft, now, trace_id, span_id) if sampled else None)
        usage = attempt.usage
        if usage is not None:
            for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                if (known := attributes.count(tokens)) is not None and (known or not error):
                    self._tokens.observe((*who, kind), known, (known, now, trace_id, span_id) if sampled else None)

    def _errors(self, record: Record, duration: float) -> None:
        """How far off the estimates were, for calls that were served."""
        plan, served = record.plan, record.served
        if plan is None or served is None:
            return
        outlook = plan.outlook
        tokens = served.usage.output_tokens if served.usage is not None else None
        for quantity, estimate, actual in (
            ("cost", outlook.cost, record.cost),
            ("duration", outlook.latency, duration),
            ("output_tokens", outlook.output_tokens, attributes.count(tokens)),
        ):
            if estimate is not None and estimate.mean > 0 and actual is not None:
                self._ratio.observe((quantity, self._version), actual / estimate.mean)

    def _alias(self, call: Call) -> str:
        """What was asked for, if it is one of a known few."""
        return call.model if call.model in self._models else "auto" if "/" in call.model else "other"

    def _provider(self, target: Target) -> str:
        return self._providers.get(target.provider, target.provider)

    def _model(self, target: Target) -> str:
        return target.model if target.model in self._models else "other"

    def _bounded(self, model: str) -> str:
        return model if model in self._upstream else "other"
