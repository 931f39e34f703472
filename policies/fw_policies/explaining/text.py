"""EXPLAIN as text, from the mapping alone: who serves, what is expected beside what happened, what was rejected and why."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fw_policies.explaining.numbers import FORMS, UNKNOWN, interval, money, pace, seconds, tokens

LEFT, MIDDLE = 30, 44
"""Widths of the columns of labels and of estimates."""
NAMES = {
    "no_credential": "no credential",
    "context_length": "context length",
    "rate_limited": "rate limited",
    "over_budget": "over budget",
    "unknown": "not proven",
    "unhealthy": "unhealthy",
    "cooldown": "breaker",
}
TOLD = frozenset(
    {
        "lock",
        "drift",
        "choose",
        "baseline",
        "stand_in",
        "relax",
        "pinned",
        "verify",
        "mixture",
        "explore",
        "sticky",
        "balance",
        "hedge",
    }
)
"""Rules whose notes are reasons that people want to read."""
TITLES = {
    "baseline": "BASELINE",
    "degraded": "STAND-IN",
    "pinned": "PINNED",
    "infeasible": "REFUSED",
    "explored": "EXPLORED",
}


def text(found: Mapping[str, Any], *, show_all: bool = False) -> str:
    """The plan for a terminal. `show_all` lists every candidate instead of counting reasons."""
    lines = [*_head(found), "", *_tree(found), "", *_requirements(found), *_rest(found, show_all=show_all)]
    return "\n".join(line.rstrip() for line in lines)


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    name = f"{found['policy']}/{found['step']}" if found["policy"] else f"pinned/{found['step']}"
    parts = [name]
    if found["version"]:
        parts.append(f"policy {found['version']}")
    if found["prices"]:
        parts.append(f"prices {found['prices']}")
    right = f"decision {found['decision_id']}" if found["decision_id"] else "nothing was sent"
    actual = found["actual"]
    if actual is not None:
        right += f"  {actual['outcome']}"
    yield f"{'   '.join(parts)}   {right}"
    if found["objective"]:
        wanted = " · ".join(line["text"].replace(">=", "≥").replace("<=", "≤") for line in found["requirements"])
        given = f", given at {found['confidence']:.0%}: {wanted}" if wanted else ""
        yield f"{found['objective']}{given}"


def title(found: Mapping[str, Any]) -> str:
    """The plan in a word, with its walk."""
    word = TITLES.get(found["reason"])
    strategy = str(found["strategy"])
    walk = "BY TEXT" if found["arms"] and found.get("by_text") else strategy.replace("_", " ").upper()
    if found["verify"]:
        walk = f"{walk} until {', '.join(found['verify'])}"
    if word is None:
        return walk
    return f"{word}, {walk.lower()}" if strategy != "single" or found["verify"] else word


def _tree(found: Mapping[str, Any]) -> Iterator[str]:
    actual = found["actual"]
    yield f"{title(found):<{LEFT}}  {'planned':<{MIDDLE}}  {'actual' if actual is not None else ''}"
    planned = found["planned"]
    asked = {line["measure"] for line in found["requirements"]}
    for measure in ("quality", "ttft", "latency", *({"tpot"} & asked), "cost"):
        happened = _actual(measure, actual, found) if actual is not None else ""
        yield f"  {measure:<{LEFT - 2}}  {interval(measure, planned.get(measure)):<{MIDDLE}}  {happened}"
    if found["arms"]:
        yield from _arms(found["arms"], "of calls, as expected" if found.get("by_text") else "of calls")
        return
    last = len(found["targets"]) - 1
    for number, target in enumerate(found["targets"]):
        branch = "└─" if number == last else "├─"
        happened = _attempts(target, actual) if actual is not None else ""
        line = f"  {branch} {target['number']} {_place(target)}"
        if len(line) > LEFT + 1:
            yield line
            line = "  │ " if number != last else ""
        yield f"{line:<{LEFT}}  {_share(target):<{MIDDLE}}  {happened}"
    if not found["targets"]:
        yield "  nothing may serve"


def _share(target: Mapping[str, Any]) -> str:
    """How often it is come to, and what it costs then."""
    cost = money(target["cost"]["mean"]) if target["cost"] is not None else UNKNOWN
    if target["number"] == 1:
        return f"{target['when']}, {cost}"
    plus = f"+{cost}" if target["cost"] is not None else cost
    reach = target.get("reach")
    return f"{target['when']}, {plus}" if reach is None else f"{_percent(reach)} of calls, {plus}"


def _percent(part: float) -> str:
    return f"{part * 100:.0f}%" if part == 0 or part >= 0.0095 else f"{part * 100:.1g}%"


def _promise(found: Mapping[str, Any]) -> Iterator[str]:
    """What is promised, how surely, on what, and until when."""
    certificate = found["certificate"]
    if certificate is None:
        yield f"{'promise':<10}  uncertified"
        return
    promise = str(certificate["promise"]).replace(">=", "≥")
    basis = "the policy over its runs" if certificate["of"] == "run" else "this step"
    yield f"{'promise':<10}  {promise}, certified at {certificate['confidence']:.0%} to {certificate['expires']}"
    covers = certificate.get("covers")
    like = f"; covers {covers:.0%} of this week" if isinstance(covers, float) else ""
    yield f"{'':<10}  by {certificate['tested']:.0f} runs; it certifies {basis}; lock {certificate['lock']}{like}"
    rule = found.get("by_text")
    if rule is not None:
        worth = f"a unit of quality is worth {money(rule['price'])} a run"
        yield f"{'by text':<10}  texts remove {rule['adds']:.1%} of the error of the step's means; {worth}"


def _arms(arms: Sequence[Mapping[str, Any]], of: str) -> Iterator[str]:
    """What a mixture is drawn from, or a text is given."""
    for number, arm in enumerate(arms, 1):
        branch = "└─" if number == len(arms) else "├─"
        effort = f", effort {arm['effort']}" if arm["effort"] else ""
        yield (f"  {branch} {number} {' → '.join(arm['models'])}{effort}".ljust(LEFT + 2) + f"{arm['weight']:.3g} {of}")


def _place(target: Mapping[str, Any]) -> str:
    deployment = str(target["deployment"])
    model, at, place = deployment.rpartition("@")
    return f"{model} @{place}" if at else deployment


def _actual(measure: str, actual: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if measure == "quality":
        known = actual.get("quality") or {}
        return ", ".join(f"{name} {value:g}" for name, value in known.items()) or "no outcome yet"
    if measure == "cost":
        cost = about(actual, "cost", money)
        return f"{cost}   {used(actual)}" if actual["input_tokens"] is not None else cost
    return _pace(actual) if measure == "tpot" else seconds(actual[measure])


def about(found: Mapping[str, Any], name: str, form: Callable[[Any], str]) -> str:
    """A figure; one that is an estimate, because nobody reported it, with a sign before it."""
    return f"≈ {form(found[name])}" if name in found.get("estimated", ()) else form(found[name])


def used(found: Mapping[str, Any]) -> str:
    """Tokens in and out."""
    return f"{about(found, 'input_tokens', tokens)} → {about(found, 'output_tokens', tokens)} tokens"


def _pace(actual: Mapping[str, Any]) -> str:
    """Seconds per token of a call that one attempt answered; of several nothing is known."""
    count, first = actual["output_tokens"], actual["ttft"]
    if "output_tokens" in actual.get("estimated", ()):
        return UNKNOWN
    if count is None or first is None or len(actual["attempts"]) != 1:
        return UNKNOWN
    return pace(max(0.0, actual["latency"] - first) / max(1, count - 1))


def _attempts(target: Mapping[str, Any], actual: Mapping[str, Any]) -> str:
    mine = [a for a in actual["attempts"] if a["deployment"] == target["deployment"]]
    if not mine:
        return "not run"
    return ", ".join(_judged(a) if not a["error_type"] else f"{a['outcome']} {a['error_type']}" for a in mine)


def _judged(attempt: Mapping[str, Any]) -> str:
    """What became of an attempt that gave an answer: whether it passed its check, when it had one."""
    if attempt["outcome"] == "rejected":
        return f"rejected by {attempt.get('check') or 'its check'}"
    return "accepted" if attempt.get("accepted") else str(attempt["outcome"])


def _requirements(found: Mapping[str, Any]) -> Iterator[str]:
    """What is saved, then each requirement with the bound that proves it, and what binds."""
    saves = found["saves"]
    if saves is not None:
        word = "saves" if saves["share"] >= 0 else "costs more:"
        per = money(abs(saves["per_call"]) * 1000)
        between = f" [{saves['low'] * 100:.0f}, {saves['high'] * 100:.0f}]" if saves.get("low") is not None else ""
        yield f"{word:<10}  {abs(saves['share']):.0%}{between} against {saves['against']}: {per} per 1,000 calls"
    elif found["requirements"]:
        yield "requires"
    rows = [_row(line, found) for line in found["requirements"]]
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(2)]
    for name, held, state in rows:
        yield f"  {name:<{max(widths[0], 8)}}  {held:<{widths[1]}}   {state}"


def _row(line: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, str, str]:
    """A requirement: its name, the bound against the limit, and the slack."""
    form = FORMS[line["measure"]]
    name = f"p{line['percentile'] * 100:g} {line['measure']}" if line["percentile"] is not None else line["measure"]
    sign = "≥" if line["measure"] == "quality" else "≤"
    ours = bool(found["targets"]) and found["targets"][0]["model"] == found["baseline"]
    exempt = line["measure"] == "quality" and ours and line["value"] is None
    if exempt or (line["value"] is None and line["limit"] is None):
        held = line["text"].removeprefix(name).replace(">=", "≥").replace("<=", "≤").strip()
    else:
        held = f"{_exact(line, line['value'])} {sign} {_exact(line, line['limit'])}"
    if line["holds"] is None and found["reason"] not in {"baseline", "degraded", "infeasible"}:
        return name, line["text"].removeprefix(name).replace(">=", "≥").replace("<=", "≤").strip(), "not judged for it"
    if not line["proven"]:
        return name, held, "not asked of the baseline" if found["reason"] == "baseline" else "not proven"
    slack = line["slack"]
    if exempt:
        return name, held, "it is the baseline"
    state = (
        "proven" if slack is None else f"slack {slack:.3f}" if line["measure"] == "quality" else f"slack {form(slack)}"
    )
    return name, held, state + _binds(line, found)


def _exact(line: Mapping[str, Any], value: float | None) -> str:
    if value is None or line["measure"] != "quality":
        return FORMS[line["measure"]](value)
    return f"{value:.3f}"


def _binds(line: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What giving way would buy: of a lock its dual, else the next candidate that this line alone keeps out."""
    dual = (found["certificate"] or {}).get("dual")
    if line["measure"] == "quality" and dual:
        return f"   ← binds: 1 point less saves {money(float(dual))} per 1,000"
    near = found.get("near")
    if near is None or near["text"] != line["text"]:
        return ""
    gap = (
        f"{near['gap'] * 100:.1f} points less"
        if line["measure"] == "quality"
        else f"{FORMS[line['measure']](near['gap'])} more"
    )
    return f"   ← binds: {gap} lets in {near['deployment']}, {money(near['saves'] * 1000)} per 1,000 cheaper"


def _rest(found: Mapping[str, Any], *, show_all: bool) -> Iterator[str]:
    runner = found["runner_up"]
    if runner is not None:
        quality = interval("quality", runner["quality"]) if runner["quality"] is not None else ""
        cost = money(runner["cost"]["mean"]) if runner["cost"] is not None else "cost unknown"
        dearer = runner.get("dearer")
        apart = "" if dearer is None else f"{abs(dearer):.0%} {'dearer' if dearer >= 0 else 'cheaper'}"
        yield f"{'runner-up':<10}  {'   '.join(part for part in (runner['model'], quality, cost, apart) if part)}"
    yield from _rejected(found, show_all=show_all)
    if found["requirements"] or found["certificate"] is not None:
        yield from _promise(found)
    yield from _evidence(found)
    for note in found["notes"]:
        if note["rule"] in TOLD:
            yield from _wrapped("because", note["text"])
    if found.get("command"):
        yield f"{'try':<10}  {found['command']}"


def _evidence(found: Mapping[str, Any]) -> Iterator[str]:
    evidence = found["evidence"]
    if evidence:
        calls, outcomes = evidence.get("calls") or 0, evidence.get("outcomes") or 0
        yield f"{'evidence':<10}  {calls:.0f} calls and {outcomes:.0f} outcomes of this step"
        if evidence.get("missing"):
            yield from _wrapped("missing", str(evidence["missing"]))
    trust = found.get("trust")
    if trust is not None and trust["n"]:
        held = f"90% ranges held {trust['held']:.0%} of {trust['n']:.0f} planned" if trust["held"] is not None else ""
        ratios = [f"{name} ×{trust[name]:.2f}" for name in ("cost", "latency") if trust[name] is not None]
        yield f"{'trust':<10}  {'; '.join(part for part in (held, ', '.join(ratios)) if part)}"


def _rejected(found: Mapping[str, Any], *, show_all: bool) -> Iterator[str]:
    serving = {target["deployment"] for target in found["targets"]}
    serving.update(name for arm in found["arms"] for name in arm["deployments"])
    out = [c for c in found["candidates"] if c["excluded"] and c["deployment"] not in serving]
    if not out:
        return
    if show_all:
        yield f"{'rejected':<10}  {len(out)} of {len(found['candidates'])} targets"
        width = max(len(c["deployment"]) for c in out)
        for candidate in out:
            name = NAMES.get(candidate["excluded"], candidate["excluded"])
            reason = candidate["why"] if candidate["why"] and candidate["why"] != name else ""
            yield f"{'':<10}    {candidate['deployment']:<{width}}  excluded: {name}{': ' + reason if reason else ''}"
        return
    counts = [f"{count} {NAMES.get(reason, reason)}{_best(reason, out)}" for reason, count in found["rejected"].items()]
    more = "   --all lists them"
    yield f"{'rejected':<10}  {len(out)} of {len(found['candidates'])} targets:  {'   '.join(counts)}{more}"


def _best(reason: str, out: Sequence[Mapping[str, Any]]) -> str:
    """The one that comes nearest, or the one that rests."""
    mine = [c for c in out if c["excluded"] == reason]
    if reason == "quality":
        known = [(c["estimates"]["quality"]["mean"], c["model"]) for c in mine if c["estimates"]["quality"]]
        return f" (best: {max(known)[1]} {max(known)[0]:.2f})" if known else ""
    return f" ({mine[0]['deployment']})" if reason in {"cooldown", "rate_limited"} and len(mine) == 1 else ""


def _wrapped(label: str, words: str, width: int = 84) -> Iterator[str]:
    """A label and its words, over as many lines as they take."""
    line = ""
    for word in words.split():
        if line and len(line) + len(word) + 1 > width:
            yield f"{label:<10}  {line}"
            label, line = "", ""
        line = f"{line} {word}".strip()
    yield f"{label:<10}  {line}"
