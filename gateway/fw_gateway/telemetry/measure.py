"""One record as measurements. Metrics see every call, sampled or not; exemplars point only at spans that are kept."""

from collections.abc import Collection, Mapping
from functools import cached_property

from fw_gateway.lasting import Lasting
from fw_gateway.telemetry import attributes, metrics, spans
from fw_gateway.telemetry.metrics import Labels, Metrics, Series
from fw_gateway.values import Attempt, Call, Record
from fw_policies.model import NANO_USD, Estimate, Plan, Target


class _Calls:
    """The series of calls that end alike; each begins when there is something to count in it."""

    def __init__(self, tables: Metrics, labels: Labels, http: Labels) -> None:
        self._tables = tables
        self._labels = labels
        self._http = http

    @cached_property
    def duration(self) -> Series:
        return self._tables.table(metrics.CALL_DURATION).at(self._labels)

    @cached_property
    def overhead(self) -> Series:
        return self._tables.table(metrics.CALL_OVERHEAD).at(self._labels)

    @cached_property
    def http(self) -> Series:
        return self._tables.table(metrics.HTTP_DURATION).at(self._http)


class _Attempts:
    """The series of attempts that end alike; each begins when there is something to count in it."""

    def __init__(self, tables: Metrics, who: Labels, error: str, counted: Labels) -> None:
        self._tables = tables
        self._who = who
        self._error = error
        self._counted = counted

    @cached_property
    def number(self) -> Series:
        return self._tables.table(metrics.ATTEMPTS).at(self._counted)

    @cached_property
    def duration(self) -> Series:
        return self._tables.table(metrics.OPERATION_DURATION).at((*self._who, self._error))

    @cached_property
    def first(self) -> Series:
        return self._tables.table(metrics.TIME_TO_FIRST_CHUNK).at(self._who)

    @cached_property
    def input(self) -> Series:
        return self._tables.table(metrics.TOKEN_USAGE).at((*self._who, "input"))

    @cached_property
    def output(self) -> Series:
        return self._tables.table(metrics.TOKEN_USAGE).at((*self._who, "output"))


class _Planned:
    """The series of one plan, and the means it promised; those that cannot be compared with anything are None."""

    def __init__(self, decisions: Series, routing: Series, plan: Plan) -> None:
        outlook = plan.outlook
        self.decisions = decisions
        self.routing = routing
        self.cost = _mean(outlook.cost)
        self.latency = _mean(outlook.latency)
        self.output_tokens = _mean(outlook.output_tokens)


def _mean(estimate: Estimate | None) -> float | None:
    return estimate.mean if estimate is not None and estimate.mean > 0 else None


class Measurer:
    """Feeds records to the tables; knows which model names are the operator's own (any other becomes `other`).

    Labels are few by design, so the series of each combination are remembered rather than looked up label by label.
    """

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
        self._ratio = tables.table(metrics.ESTIMATE_ERROR)
        self._calls: dict[Labels, _Calls] = {}
        self._attempts: dict[Labels, _Attempts] = {}
        self._costs = Lasting[Target, Series](self._cost)
        self._plans = Lasting[Plan, _Planned](self._planned)

    def record(self, record: Record, *, sampled: bool) -> None:
        """Count everything there is to count in one call."""
        call, attempts = record.call, record.attempts
        duration = max(0.0, record.ended - call.started)
        now = spans.at(call, record.ended)
        for attempt in attempts:
            self._attempt(attempt, record, now, sampled=sampled)
        if call.shadow is not None:  # nobody's call: its attempt alone is counted
            return
        served = record.served or (attempts[-1] if attempts else None)
        counted = self._called(record)
        overhead = attributes.overhead(record)
        if sampled:
            where = (now, call.trace.trace_id, call.span_id if served is None else served.span_id)
            exemplar = (duration, *where)
            counted.duration.observe(duration, exemplar)
            counted.overhead.observe(overhead, (overhead, *where))
            if not call.embedded:
                counted.http.observe(duration, exemplar)
        else:
            counted.duration.observe(duration)
            counted.overhead.observe(overhead)
            if not call.embedded:
                counted.http.observe(duration)
        cost = record.cost
        if served is not None and cost is not None:
            self._costs[served.target].total += cost / NANO_USD
        if record.plan is not None:
            planned = self._plans[record.plan]
            planned.decisions.total += 1
            planned.routing.observe(record.routing)
            if record.served is not None:
                self._errors(planned, record.served, cost, duration)

    def _called(self, record: Record) -> _Calls:
        call = record.call
        labels = (self._alias(call), record.outcome, record.error_type, call.route, record.status)
        found = self._calls.get(labels)
        if found is None:
            ended = (labels[0], record.outcome, attributes.error_type(record.error_type))
            found = self._calls[labels] = _Calls(self._tables, ended, ("POST", call.route, record.status))
        return found

    def _attempt(self, attempt: Attempt, record: Record, now: int, *, sampled: bool) -> None:
        call, usage = record.call, attempt.usage
        counted = self._attempted(attempt, call)
        counted.number.total += 1
        duration = max(0.0, (attempt.ended if attempt.ended is not None else record.ended) - attempt.started)
        observed = [(counted.duration, duration)]
        if call.stream and attempt.ttft is not None:
            observed.append((counted.first, attempt.ttft))
        if usage is not None:
            known = attributes.count(usage.input_tokens)
            if known is not None and (known or not attempt.error_type):
                observed.append((counted.input, known))
            known = attributes.count(usage.output_tokens)
            if known is not None and (known or not attempt.error_type):
                observed.append((counted.output, known))
        where = (now, call.trace.trace_id, attempt.span_id)
        for series, value in observed:
            series.observe(value, (value, *where) if sampled else None)

    def _attempted(self, attempt: Attempt, call: Call) -> _Attempts:
        target, server = attempt.target, attempt.server
        model = self._bounded(target.upstream_model)
        answered = self._bounded(attempt.response_model) if attempt.response_model else ""
        ended = (attempt.reason, attempt.outcome, attempt.error_type)
        key = (call.operation, target.provider, model, answered, *server, *ended)
        found = self._attempts.get(key)
        if found is None:
            provider, error = self._provider(target), attributes.error_type(attempt.error_type)
            who = (call.operation, provider, model, answered, server[0], server[1] or "")
            tried = (attempt.reason, attempt.outcome or "error", provider, model, error)
            found = self._attempts[key] = _Attempts(self._tables, who, error, tried)
        return found

    def _cost(self, target: Target) -> Series:
        return self._tables.table(metrics.CALL_COST).at((self._provider(target), self._model(target)))

    def _planned(self, plan: Plan) -> _Planned:
        name = plan.policy or plan.reason
        chosen = self._model(plan.targets[0]) if plan.targets else ""
        return _Planned(
            self._tables.table(metrics.DECISIONS).at((name, plan.version, chosen, plan.reason)),
            self._tables.table(metrics.ROUTE_DURATION).at((name,)),
            plan,
        )

    def _errors(self, planned: _Planned, served: Attempt, cost: int | None, duration: float) -> None:
        """How far off the estimates were, for calls that were served."""
        if planned.cost is not None and cost is not None:
            self._ratio.observe(("cost", self._version), cost / planned.cost)
        if planned.latency is not None:
            self._ratio.observe(("duration", self._version), duration / planned.latency)
        if planned.output_tokens is not None and served.usage is not None:
            tokens = attributes.tokens(served.usage, failed=bool(served.error_type))[3]
            if tokens is not None:
                self._ratio.observe(("output_tokens", self._version), tokens / planned.output_tokens)

    def _alias(self, call: Call) -> str:
        """What was asked for, if it is one of a known few."""
        return call.model if call.model in self._models else "auto" if "/" in call.model else "other"

    def _provider(self, target: Target) -> str:
        return self._providers.get(target.provider, target.provider)

    def _model(self, target: Target) -> str:
        return target.model if target.model in self._models else "other"

    def _bounded(self, model: str) -> str:
        return model if model in self._upstream else "other"
