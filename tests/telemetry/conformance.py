"""The rules of the telemetry contract, checked on finished spans. Each rule is one function that yields what breaks it.

Spans come from `fw_gateway.telemetry.reader`. `check(spans)` returns `(rule, span name, what is wrong)`; an empty list is a pass.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from fw_gateway.telemetry.reader import SpanRow

INFERENCE = {"chat", "text_completion", "generate_content"}
MODEL_CALLS = INFERENCE | {"embeddings"}
OPERATIONS = MODEL_CALLS | {
    "retrieval", "create_agent", "invoke_agent", "execute_tool", "invoke_workflow", "plan", "fetch_response", "search_memory",
    "create_memory", "update_memory", "upsert_memory", "delete_memory", "create_memory_store", "delete_memory_store",
}  # fmt: skip

NUMBERS, WHOLE, TEXTS, FLAGS, TEXT = "number", "whole", "list", "flag", "text"
REGISTRY = {
    **dict.fromkeys(
        ["max_tokens", "choice.count", "top_k", "seed"], WHOLE
    ),
    **dict.fromkeys(["temperature", "top_p", "frequency_penalty", "presence_penalty"], NUMBERS),
    "stream": FLAGS,
    **dict.fromkeys(["stop_sequences", "encoding_formats"], TEXTS),
    **dict.fromkeys(["model", "reasoning.level", "previous_response.id"], TEXT),
}  # fmt: skip
REGISTRY = {f"gen_ai.request.{name}": kind for name, kind in REGISTRY.items()} | {
    "gen_ai.response.finish_reasons": TEXTS,
    "gen_ai.response.time_to_first_chunk": NUMBERS,
    **{
        f"gen_ai.usage.{name}": WHOLE
        for name in (
            "input_tokens", "output_tokens", "cache_read.input_tokens", "cache_creation.input_tokens",
            "cache_write.input_tokens", "reasoning.output_tokens",
        )
    },
    "gen_ai.embeddings.dimension.count": WHOLE,
    **{
        f"gen_ai.{name}": TEXT
        for name in (
            "operation.name", "provider.name", "response.model", "response.id", "conversation.id", "output.type",
            "prompt.name", "prompt.version", "agent.name", "agent.id", "agent.version", "agent.description", "tool.name",
            "tool.type", "tool.call.id", "tool.description", "workflow.name", "data_source.id", "token.type",
        )
    },
}  # fmt: skip
CONTENT = {
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result", "gen_ai.tool.definitions", "input.value", "output.value", "llm.input_messages",
}  # fmt: skip
DEPRECATED = {
    "gen_ai.system", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens", "gen_ai.prompt", "gen_ai.completion",
    "error.message", "http.method", "http.status_code", "http.url",
}  # fmt: skip
ERRORS = {
    "timeout", "connection_error", "stream_interrupted", "client_disconnected", "context_length_exceeded", "content_filter",
    "guardrail_blocked", "budget_exceeded", "rate_limited_local", "no_candidate", "invalid_response", "_OTHER",
}  # fmt: skip
REASONS = {"initial", "retry", "fallback", "hedge", "cascade", "shadow"}
NAME = re.compile(r"[a-z][a-z0-9]*([._][a-z0-9]+)*")
SECRET = re.compile(r"\bsk-[A-Za-z0-9_-]{8,}|Bearer [A-Za-z0-9._-]{8,}|Traceback \(most recent call last\)")

Found = tuple[str, str, str]
Rule = Callable[["Tree"], Iterator[tuple[SpanRow, str]]]


class Tree(NamedTuple):
    """The spans of one or more traces, by id and by parent."""

    spans: list[SpanRow]
    by_id: dict[str, SpanRow]
    below: dict[str, list[SpanRow]]

    def above(self, span: SpanRow) -> Iterator[SpanRow]:
        while (parent := self.by_id.get(span.parent_id)) is not None:
            yield parent
            span = parent

    def calls(self) -> Iterator[tuple[SpanRow, list[SpanRow], list[SpanRow]]]:
        """(the span that carries the call, its attempts, its route spans); in process that is the caller's chat span."""
        for span in self.spans:
            children = self.below.get(span.span_id, [])
            routes = [child for child in children if "fw.route.policy.name" in child.attributes]
            attempts = [
                child
                for child in children
                if operation(child) in MODEL_CALLS
                and ("fw.attempt.number" in child.attributes or span.kind == "SERVER")
            ]
            if routes or attempts:
                yield span, attempts, routes


RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return register


def operation(span: SpanRow) -> str:
    return str(span.attributes.get("gen_ai.operation.name", ""))


def check(spans: Iterable[SpanRow]) -> list[Found]:
    """Every violation, by rule."""
    known = list(spans)
    below: dict[str, list[SpanRow]] = {}
    for span in known:
        below.setdefault(span.parent_id, []).append(span)
    tree = Tree(known, {span.span_id: span for span in known}, below)
    return [(name, span.name, what) for name, function in RULES.items() for span, what in function(tree)]


def has_type(value: Any, kind: str) -> bool:
    if kind == WHOLE:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == NUMBERS:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, {TEXTS: list, FLAGS: bool, TEXT: str}[kind])


@rule("A1")
def model_calls_name_provider_and_model(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if operation(span) in MODEL_CALLS:
            for key in ("gen_ai.provider.name", "gen_ai.request.model"):
                if not span.attributes.get(key):
                    yield span, f"no {key}"


@rule("A2")
def operations_are_known(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        name = operation(span)
        if name and name not in OPERATIONS and not name.startswith("fw."):
            yield span, f"operation {name}"


@rule("A3")
def values_have_their_type(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        for key, kind in REGISTRY.items():
            if key in span.attributes and not has_type(span.attributes[key], kind):
                yield span, f"{key} is {type(span.attributes[key]).__name__}"


@rule("A4")
def nothing_is_deprecated(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        for key in DEPRECATED & set(span.attributes):
            yield span, key


@rule("A5")
def the_standard_namespace_is_not_squatted(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        for key in span.attributes:
            if key.startswith("gen_ai.") and key not in REGISTRY and key not in CONTENT and key not in DEPRECATED:
                yield span, key


@rule("A6")
def names_are_well_formed(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        for key in span.attributes:
            if not NAME.fullmatch(key):
                yield span, key


@rule("S1")
def model_calls_are_client_spans(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if operation(span) in MODEL_CALLS and span.kind != "CLIENT":
            yield span, span.kind


@rule("S2")
def model_calls_are_named_for_operation_and_model(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if operation(span) in MODEL_CALLS:
            expected = f"{operation(span)} {span.attributes.get('gen_ai.request.model')}"
            if span.name != expected:
                yield span, f"should be {expected}"


@rule("S3")
def tools_and_agents_have_their_shape(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if operation(span) == "execute_tool":
            tool = span.attributes.get("gen_ai.tool.name")
            if span.kind != "INTERNAL" or not tool or span.name != f"execute_tool {tool}":
                yield span, "a tool is INTERNAL and named for itself"
        if operation(span) == "invoke_agent" and not span.name.startswith("invoke_agent"):
            yield span, "an agent is named invoke_agent"


@rule("S4")
def time_runs_forward_and_children_stay_inside(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if span.end < span.start:
            yield span, "ends before it starts"
        parent = tree.by_id.get(span.parent_id)
        # Two processes have two clocks; and a client may stop listening before the server has stopped.
        if parent is not None and parent.scope == span.scope and (span.start < parent.start or span.end > parent.end):
            yield span, f"outside {parent.name}"


@rule("S5")
def scopes_name_their_schema(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if not span.schema_url and any(key.startswith("gen_ai.") for key in span.attributes):
            yield span, "no schema url"


@rule("T1")
def first_chunks_are_of_streams(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        found = span.attributes
        if "gen_ai.response.time_to_first_chunk" in found and found.get("gen_ai.request.stream") is not True:
            yield span, "time to first chunk without stream"


@rule("T2")
def streams_that_succeed_have_a_first_chunk(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        found = span.attributes
        if operation(span) in MODEL_CALLS and found.get("gen_ai.request.stream") and span.status != "ERROR":
            cancelled = found.get("fw.attempt.outcome") == "cancelled"
            if not cancelled and "gen_ai.response.time_to_first_chunk" not in found:
                yield span, "streamed, succeeded, no first chunk"


@rule("T3")
def first_chunks_come_before_the_end(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        first = span.attributes.get("gen_ai.response.time_to_first_chunk")
        if first is not None and not 0 < first <= span.seconds + 1e-6:
            yield span, f"{first} of {span.seconds}"


@rule("E1")
def errors_have_a_type_and_types_are_errors(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if span.kind != "SERVER" and (span.status == "ERROR") != bool(span.attributes.get("error.type")):
            yield span, f"{span.status} with {span.attributes.get('error.type')}"


@rule("E2")
def success_is_left_unset(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if span.status == "OK":
            yield span, "OK is for people to set"
        if (
            span.kind == "SERVER"
            and span.status == "ERROR"
            and span.attributes.get("http.response.status_code", 500) < 500
        ):
            yield span, "a server is in error only from 500 on"


@rule("E3")
def error_types_are_a_closed_set(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        kind = span.attributes.get("error.type")
        ours = span.scope.startswith("fw.")
        if kind and (
            " " in kind or len(kind) > 64 or (ours and kind not in ERRORS and not re.fullmatch(r"[1-5]\d\d", kind))
        ):
            yield span, kind


@rule("U1")
def usage_stands_once_on_a_path(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if _usage(span) and any(_usage(above) for above in tree.above(span)):
            yield span, "usage here and above"


@rule("U2")
def usage_is_of_model_calls(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if _usage(span) and operation(span) and operation(span) not in MODEL_CALLS:
            yield span, operation(span)


@rule("U3")
def models_stand_on_genai_operations_only(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if "gen_ai.request.model" in span.attributes and not operation(span):
            yield span, "a model on a span that is no operation"


@rule("U4")
def failures_do_not_report_zero(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if span.status == "ERROR" and span.attributes.get("gen_ai.usage.input_tokens") == 0:
            yield span, "zero tokens on a failure"


@rule("U5")
def parts_do_not_exceed_their_whole(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        usage = _usage(span)
        for part, whole in (
            ("cache_read.input_tokens", "input_tokens"),
            ("cache_creation.input_tokens", "input_tokens"),
            ("reasoning.output_tokens", "output_tokens"),
        ):
            if usage.get(part, 0) > usage.get(whole, 0):
                yield span, f"{part} > {whole}"


def _usage(span: SpanRow) -> dict[str, int]:
    lead = "gen_ai.usage."
    return {key.removeprefix(lead): value for key, value in span.attributes.items() if key.startswith(lead)}


@rule("R1")
def attempts_are_counted_from_one(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for call, attempts, _ in tree.calls():
        numbers = sorted(attempt.attributes.get("fw.attempt.number", -1) for attempt in attempts)
        if numbers != list(range(1, len(attempts) + 1)):
            yield call, str(numbers)


@rule("R2")
def attempts_have_a_reason(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for _, attempts, _ in tree.calls():
        for attempt in attempts:
            if attempt.attributes.get("fw.attempt.reason") not in REASONS:
                yield attempt, str(attempt.attributes.get("fw.attempt.reason"))


@rule("R3")
def later_attempts_point_at_the_one_they_follow(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for _, attempts, _ in tree.calls():
        ids = {attempt.span_id for attempt in attempts}
        for attempt in attempts:
            followed = [
                link for link in attempt.links
                if str(link["attributes"].get("fw.link.type", "")).endswith("_of") and link["span_id"] in ids
            ]  # fmt: skip
            if attempt.attributes.get("fw.attempt.number", 1) > 1 and not followed:
                yield attempt, "no link to the attempt it follows"


@rule("R4")
def a_routed_call_has_one_decision(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for call, attempts, routes in tree.calls():
        if attempts and len(routes) != 1:
            yield call, f"{len(routes)} route spans"


@rule("R5")
def a_call_has_one_winner(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for call, attempts, _ in tree.calls():
        if sum(attempt.attributes.get("fw.attempt.outcome") == "success" for attempt in attempts) > 1:
            yield call, "more than one"


@rule("R6")
def decisions_say_what_they_must(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for _, attempts, routes in tree.calls():
        needed = ["fw.decision.id", "fw.route.policy.version", "fw.route.reason"]
        if attempts:
            needed += ["fw.route.selected.model", "fw.route.selected.provider"]
        for route in routes:
            for key in needed:
                if key not in route.attributes:
                    yield route, f"no {key}"


@rule("R7")
def candidate_columns_are_aligned(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for _, _, routes in tree.calls():
        for route in routes:
            length = min(16, route.attributes.get("fw.route.candidate.count", 0))
            for key, value in route.attributes.items():
                if isinstance(value, list) and key.startswith("fw.route.candidate") and len(value) != length:
                    yield route, f"{key}: {len(value)} of {length}"


@rule("R8")
def the_decision_id_joins_route_and_call(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for call, _, routes in tree.calls():
        for route in routes:
            known = call.attributes.get("fw.decision.id")
            if known != route.attributes.get("fw.decision.id"):
                yield call, f"{known} is not the route's"


@rule("R9")
def the_cost_of_a_call_is_the_sum_over_its_attempts(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for call, attempts, _ in tree.calls():
        costs = [attempt.attributes.get("fw.cost.amount") for attempt in attempts]
        actual = call.attributes.get("fw.call.actual.cost")
        expected = None if not attempts or None in costs else sum(costs)
        if (actual is None) != (expected is None) or (expected is not None and abs(actual - expected) > 1e-12):
            yield call, f"{actual} is not {expected}"


@rule("P1")
def no_content_is_captured(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        for key in CONTENT & set(span.attributes):
            yield span, key


@rule("P2")
def no_secrets_and_no_stack_traces(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        for key, value in span.attributes.items():
            if key.endswith("stack_trace") or SECRET.search(str(value)):
                yield span, key
        if SECRET.search(span.message):
            yield span, "status"


@rule("G6")
def every_span_says_what_kind_of_work_it_is(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        if span.scope.startswith("fw.") and "openinference.span.kind" not in span.attributes:
            yield span, "no openinference.span.kind"


@rule("X1")
def decisions_are_siblings_of_attempts(tree: Tree) -> Iterator[tuple[SpanRow, str]]:
    for span in tree.spans:
        parent = tree.by_id.get(span.parent_id)
        if parent is not None and "fw.attempt.number" in span.attributes and "fw.route.reason" in parent.attributes:
            yield span, "an attempt inside a route span"
