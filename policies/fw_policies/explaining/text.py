"""EXPLAIN as text, from the mapping alone: who serves, what is expected beside what happened, what was rejected and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fw_policies.explaining.numbers import UNKNOWN, interval, money, seconds, share, tokens

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
TITLES = {
    "baseline": "BASELINE",
    "degraded": "STAND-IN",
    "pinned": "PINNED",
    "infeasible": "REFUSED",
    "explored": "EXPLORED",
}


def text(found: Mapping[str, Any], *, show_all: bool = False) -> str:
    """The plan for a terminal. `show_all` lists every candidate instead of counting reasons."""
    lines = [*_head(found), "", *_tree(found), *_requirements(found), *_rest(found, show_all=show_all)]
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
    walk = strategy.replace("_", " ").upper()
    if found["verify"]:
        walk = f"{walk} until {', '.join(found['verify'])}"
    if word is None:
        return walk
    return f"{word}, {walk.lower()}" if strategy != "single" or found["verify"] else word


def _tree(found: Mapping[str, Any]) -> Iterator[str]:
    actual = found["actual"]
    certificate = _certificate(found["certificate"])
    yield f"{title(found):<{LEFT}}  {'planned':<{MIDDLE}}{'actual' if actual is not None else ''}"
    planned = found["planned"]
    for measure in ("quality", "ttft", "latency", "cost"):
        happened = _actual(measure, actual, found) if actual is not None else ""
        yield f"  {measure:<{LEFT - 2}}  {interval(measure, planned[measure]):<{MIDDLE}}{happened}"
    if found["arms"]:
        yield from _arms(found["arms"])
        yield ""
        yield f"{'promise':<10}  {certificate}"
        return
    last = len(found["targets"]) - 1
    for number, target in enumerate(found["targets"]):
        branch = "└─" if number == last else "├─"
        who = f"{target['number']} {_place(target)}"
        cost = money(target["cost"]["mean"]) if target["cost"] is not None else UNKNOWN
        what = f"{target['when']}, {cost}"
        happened = _attempts(target, actual) if actual is not None else ""
        line = f"  {branch} {who}"
        if len(line) > LEFT + 1:
            yield line
            line = "  │ " if number != last else ""
        yield f"{line:<{LEFT}}  {what:<{MIDDLE}}{happened}"
    if not found["targets"]:
        yield "  nothing may serve"
    yield ""
    yield f"{'promise':<10}  {certificate}"


def _certificate(found: Mapping[str, Any] | None) -> str:
    """What is promised, how surely, on what, and until when."""
    if found is None:
        return "uncertified"
    promise = str(found["promise"]).replace(">=", "≥")
    what = f"{promise}, certified at {found['confidence']:.0%} to {found['expires']}"
    basis = "the policy over its runs" if found["of"] == "run" else "this step"
    return f"{what}\n{'':<10}  slack {found['slack']:.3f} on {found['tested']:.0f} runs; it certifies {basis}; lock {found['lock']}"


def _arms(arms: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a mixture is drawn from."""
    for number, arm in enumerate(arms, 1):
        branch = "└─" if number == len(arms) else "├─"
        effort = f", effort {arm['effort']}" if arm["effort"] else ""
        yield (
            f"  {branch} {number} {' → '.join(arm['models'])}{effort}".ljust(LEFT + 2) + f"{arm['weight']:.3g} of calls"
        )


def _place(target: Mapping[str, Any]) -> str:
    deployment = str(target["deployment"])
    model, at, place = deployment.rpartition("@")
    return f"{model} @{place}" if at else deployment


def _actual(measure: str, actual: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if measure == "quality":
        known = actual.get("quality") or {}
        return ", ".join(f"{name} {value:g}" for name, value in known.items()) or "no outcome yet"
    if measure == "cost":
        used = f"{tokens(actual['input_tokens'])} → {tokens(actual['output_tokens'])} tokens"
        return f"{money(actual['cost'])}   {used}" if actual["input_tokens"] is not None else money(actual["cost"])
    return seconds(actual[measure])


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
    for line in found["requirements"]:
        form = share if line["measure"] == "quality" else money if line["measure"] == "cost" else seconds
        value, slack = line["value"], line["slack"]
        wanted = line["text"].replace(">=", "≥").replace("<=", "≤")
        if not line["proven"]:
            state = "not proven" if found["reason"] != "baseline" else "not asked of the baseline"
        elif slack is not None:
            state = f"{form(value)}, slack {form(slack)}"
        else:
            state = "proven"
        yield f"{'requires':<10}  {wanted:<{MIDDLE}}{state}"


def _rest(found: Mapping[str, Any], *, show_all: bool) -> Iterator[str]:
    saves = found["saves"]
    if saves is not None:
        word = "saves" if saves["share"] >= 0 else "costs more:"
        per = money(abs(saves["per_call"]) * 1000)
        yield f"{'money':<10}  {word} {abs(saves['share']):.0%} against {saves['against']}: {per} per 1,000 calls"
    runner = found["runner_up"]
    if runner is not None:
        yield f"{'runner-up':<10}  {runner['model']}   {interval('cost', runner['cost'])}"
    yield from _rejected(found, show_all=show_all)
    evidence = found["evidence"]
    if evidence:
        calls, outcomes = evidence.get("calls") or 0, evidence.get("outcomes") or 0
        yield f"{'evidence':<10}  {calls:.0f} calls and {outcomes:.0f} outcomes of this step"
        if evidence.get("missing"):
            yield from _wrapped("missing", str(evidence["missing"]))
    for note in found["notes"]:
        if note["rule"] in {
            "lock",
            "choose",
            "baseline",
            "stand_in",
            "relax",
            "pinned",
            "verify",
            "mixture",
            "explore",
            "sticky",
        }:
            yield from _wrapped("because", note["text"])
    if found["policy"]:
        yield f"{'try':<10}  fw explain {found['policy']}/{found['step']} --all"


def _rejected(found: Mapping[str, Any], *, show_all: bool) -> Iterator[str]:
    serving = {target["deployment"] for target in found["targets"]}
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
    counts = [f"{count} {NAMES.get(reason, reason)}" for reason, count in found["rejected"].items()]
    more = "   --all lists them"
    yield f"{'rejected':<10}  {len(out)} of {len(found['candidates'])} targets:  {'   '.join(counts)}{more}"


def _wrapped(label: str, words: str, width: int = 84) -> Iterator[str]:
    """A label and its words, over as many lines as they take."""
    line = ""
    for word in words.split():
        if line and len(line) + len(word) + 1 > width:
            yield f"{label:<10}  {line}"
            label, line = "", ""
        line = f"{line} {word}".strip()
    yield f"{label:<10}  {line}"
