"""From a mapping to a policy: every key known, every unit read, defaults merged into every step; all problems at once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fw_policies.spec import lines, plans, units
from fw_policies.spec.model import ANY, Case, Explore, Policy, Quality, Rules
from fw_policies.spec.problems import Found, PolicyError, near

TOP = ("policy", "extends", "baseline", "quality", "run", "default", "steps", "explore")
KEYS = (
    "minimize", "maximize", "require", "models", "data", "effort", "allow", "sticky", "otherwise", "failure_domains", "verify",
    "explore", "priority", "cases", "use", "lossless",
)  # fmt: skip
_GOALS = ("cost", "latency", "ttft")


def parse(mapping: Mapping[str, Any], *, source: str = "") -> Policy:
    """The policy that a mapping (one YAML document) says.

    Raises:
        PolicyError: with every problem that was found.
    """
    found = Found()
    if not isinstance(mapping, Mapping):
        found.add("", f"a policy must be a mapping, not {mapping!r}.", "Begin with `policy: NAME`.")
        raise PolicyError(found.problems)
    _known(mapping, TOP, "", found)
    name, baseline = _text(mapping, "policy", found), _text(mapping, "baseline", found)
    if "extends" in mapping:
        found.not_yet("extends", "extends", "Copy the layer's lines into this policy.")
    quality = _quality(mapping.get("quality"), found)
    limits = _run(mapping.get("run"), found)
    default = _section(mapping.get("default"), "default", found)
    default.setdefault("minimize" if "maximize" not in default else "maximize", default.get("maximize", "cost"))
    steps = _steps(mapping.get("steps"), default, found)
    whole = plans.explore(mapping.get("explore"), "", found)
    if "explore" in default:
        found.add(
            "default.explore", "would be a purse for each step.", "Write `explore` at the top: one purse for all."
        )
    rules, cases = _compile({ANY: default, **steps}, found, whole)
    if quality is None:
        _measurable(rules, cases, found)
    if found.problems:
        raise PolicyError(found.problems)
    canonical = _canonical(mapping, default, steps)
    text = json.dumps(canonical, sort_keys=True, ensure_ascii=False)
    return Policy(
        name=name,
        baseline=baseline,
        default=rules[ANY],
        steps={step: rules[step] for step in steps if step != ANY},
        cases={step: held for step, held in cases.items() if held},
        quality=quality,
        run_cost=limits[0],
        run_time=limits[1],
        digest=hashlib.sha256(text.encode()).hexdigest()[:6],
        canonical=canonical,
        source=source,
        uses=frozenset(condition.fact for held in cases.values() for case in held for condition in case.when),
    )


def _canonical(mapping: Mapping[str, Any], default: Mapping[str, Any], steps: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"policy": mapping["policy"], "baseline": mapping["baseline"]}
    for key in ("quality", "run", "explore"):
        if mapping.get(key):
            out[key] = mapping[key]
    return {**out, "default": dict(default), "steps": {step: dict(raw) for step, raw in steps.items()}}


def _known(mapping: Mapping[Any, Any], keys: Sequence[str], path: str, found: Found) -> None:
    for key in mapping:
        if key not in keys:
            found.add(f"{path}{key}", "is not a key of the language.", near(key, keys))


def _text(mapping: Mapping[str, Any], key: str, found: Found) -> str:
    value = mapping.get(key)
    if value is None:
        words = {"baseline": "what serves until something else is proven", "policy": "its name"}[key]
        found.add(key, f"is missing: a policy needs {words}.")
        return ""
    if not isinstance(value, str) or not value.strip():
        found.add(key, f"must be a name, not {value!r}.")
        return ""
    return value


def _quality(value: Any, found: Found) -> Quality | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        found.add("quality", "must be a mapping, like {outcome: tests_pass, of: run}.")
        return None
    _known(value, ("outcome", "of", "within", "confidence"), "quality.", found)
    outcome, of = value.get("outcome"), value.get("of", "run")
    if not isinstance(outcome, str) or not outcome:
        found.add("quality.outcome", "must name an outcome that is reported, like `tests_pass`.")
    if of not in ("run", "step"):
        found.add("quality.of", f"must be `run` or `step`, not {of!r}.")
    within, confidence = 86400.0, 0.90
    try:
        within = units.seconds(str(value.get("within", "1d")))
        confidence = units.share(str(value.get("confidence", "90%")))
    except units.Unreadable as fault:
        found.add("quality", f"{fault}.")
    if not 0.5 < confidence < 1:
        found.add("quality.confidence", f"{confidence:g} is no confidence.", "Use 80% to 99%.")
    return Quality(str(outcome), of, within, confidence)


def _measurable(rules: Mapping[str, Rules], cases: Mapping[str, tuple[Case, ...]], found: Found) -> None:
    """Without a `quality` section nothing can prove a line about quality: it could never fire."""
    for step, own in rules.items():
        for one in (own, *(case.rules for case in cases.get(step, ()))):
            if one.objective == "quality" or any(line.measure == "quality" for line in one.require):
                path = "default" if step == ANY else f"steps.{step}"
                hint = "Say what it is: `quality: {outcome: tests_pass, of: run}`."
                found.add(path, "asks for quality, but no outcome says what quality is.", hint)
                break


def _run(value: Any, found: Found) -> tuple[int | None, float | None]:
    cost, time = None, None
    for index, line in enumerate(_list(value, "run", found)):
        measure, op, amount = [*str(line).split(None, 2), "", "", ""][:3]
        path = f"run[{index}]"
        if measure not in {"cost", "time"} or op != "<=":
            found.add(path, f"`{line}` cannot be read.", "Write `cost <= 2 USD` or `time <= 15min`.")
            continue
        try:
            if measure == "cost":
                cost = units.money(amount)
            else:
                time = units.seconds(amount)
        except units.Unreadable as fault:
            found.add(path, f"{fault}.")
    return cost, time


def _list(value: Any, path: str, found: Found) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        found.add(path, f"must be a list, not {value!r}.", f"Write `{path.rsplit('.', 1)[-1]}: [{value}]`.")
        return []
    return value


def _section(value: Any, path: str, found: Found) -> dict[str, Any]:
    """The raw lines of a step, its keys known."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        found.add(path, f"must be a mapping, not {value!r}.")
        return {}
    _known(value, KEYS, f"{path}.", found)
    if "minimize" in value and "maximize" in value:
        found.add(path, "has both minimize and maximize.", "A step has exactly one objective.")
    return {key: item for key, item in value.items() if key in KEYS}


def _steps(value: Any, default: Mapping[str, Any], found: Found) -> dict[str, dict[str, Any]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        found.add("steps", "must map names of steps to what they need.")
        return {}
    steps = {}
    for step, raw in value.items():
        steps[str(step)] = _merge(default, _section(raw, f"steps.{step}", found))
    return steps


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`: a line replaces the line for the same measure, an objective the objective, the rest by key."""
    out = {**under, **over}
    if "minimize" in over:
        out.pop("maximize", None)
    if "maximize" in over:
        out.pop("minimize", None)
    mine, theirs = over.get("require"), under.get("require")
    if isinstance(mine, list) and isinstance(theirs, list):
        named = {_measure(line) for line in mine}
        out["require"] = [line for line in theirs if _measure(line) not in named] + mine
    if "cases" not in over:
        out.pop("cases", None)
        if "cases" in under:
            out["cases"] = under["cases"]
    return out


def _measure(line: Any) -> str:
    words = str(line).split()
    if len(words) > 1 and words[0][:1] == "p" and words[0][1:].replace(".", "").isdigit():
        return words[1]
    return words[0] if words else ""


def _compile(
    sections: Mapping[str, Mapping[str, Any]], found: Found, whole: Explore | None
) -> tuple[dict[str, Rules], dict[str, tuple[Case, ...]]]:
    rules: dict[str, Rules] = {}
    cases: dict[str, tuple[Case, ...]] = {}
    for step, raw in sections.items():
        path = "default" if step == ANY else f"steps.{step}"
        plain = {key: value for key, value in raw.items() if key != "cases"}
        rules[step] = _exploring(_rules(plain, path, found), step, whole)
        held: list[Case] = []
        for index, item in enumerate(_list(raw.get("cases"), f"{path}.cases", found)):
            case = _case(item, plain, f"{path}.cases[{index}]", found)
            if case is not None:
                case = replace(case, rules=_exploring(case.rules, step, whole))
                if any(case.text == earlier.text for earlier in held):
                    found.add(
                        f"{path}.cases[{index}]", f"`{case.text}` stands above already: this case is never reached."
                    )
                held.append(case)
        cases[step] = tuple(held)
    return rules, cases


def _exploring(rules: Rules, step: str, whole: Explore | None) -> Rules:
    """A step's own limits are paid from a purse of its own, inherited ones from the policy's."""
    own = rules.explore
    return replace(rules, explore=whole if own is None else replace(own, scope=step))


def _case(item: Any, under: Mapping[str, Any], path: str, found: Found) -> Case | None:
    if not isinstance(item, Mapping) or not isinstance(item.get("when"), str):
        found.add(path, "needs a `when`, like `when: attempt >= 3`.")
        return None
    text = item["when"]
    try:
        when = lines.conditions(text)
    except lines.Unread as fault:
        found.add(f"{path}.when", fault.message, fault.hint)
        return None
    for condition in when:
        if reason := lines.never(condition):
            found.add(f"{path}.when", f"can never hold: {reason}.")
    raw = _section({key: value for key, value in item.items() if key != "when"}, path, found)
    if "cases" in raw:
        found.add(f"{path}.cases", "cases do not nest.")
        raw.pop("cases")
    return Case(when, text, _rules(_merge(under, raw), path, found))


def _rules(raw: Mapping[str, Any], path: str, found: Found) -> Rules:
    goal = raw.get("maximize") or raw.get("minimize") or "cost"
    if "maximize" in raw and goal != "quality":
        found.add(f"{path}.maximize", f"`{goal}` cannot be maximized.", "Only `quality` can.")
    if "maximize" not in raw and goal not in _GOALS:
        found.add(f"{path}.minimize", f"`{goal}` cannot be minimized.", near(goal, _GOALS))
    models, data = _mapping(raw, "models", path, found), _mapping(raw, "data", path, found)
    _known(models, ("tags", "exclude"), f"{path}.models.", found)
    _known(data, ("regions", "self_hosted"), f"{path}.data.", found)
    otherwise, relax = _otherwise(raw.get("otherwise", "baseline"), path, found)
    allowed = plans.allow(raw.get("allow"), path, found)
    use = raw.get("use")
    if use is not None and use != "baseline":
        found.add(f"{path}.use", f"`{use}` cannot be used.", "Only `use: baseline` is in the language.")
    domains = raw.get("failure_domains", 1)
    if not isinstance(domains, int) or isinstance(domains, bool) or not 1 <= domains <= 9:
        found.add(f"{path}.failure_domains", f"must be a whole number from 1 on, not {domains!r}.")
        domains = 1
    hosted = data.get("self_hosted")
    if hosted is not None and not isinstance(hosted, bool):
        found.add(f"{path}.data.self_hosted", f"must be true or false, not {hosted!r}.")
        hosted = None
    return Rules(
        objective=goal,  # type: ignore[arg-type]
        require=_requirements(raw, path, found),
        tags=_names(models, "tags", f"{path}.models", found),
        exclude=_names(models, "exclude", f"{path}.models", found),
        regions=_names(data, "regions", f"{path}.data", found),
        self_hosted=hosted,
        otherwise=otherwise,  # type: ignore[arg-type]
        relax=relax,
        failure_domains=domains,
        use_baseline=use == "baseline",
        verify=plans.verify(raw.get("verify"), path, found),
        explore=plans.explore(raw.get("explore"), path, found),
        effort=plans.effort(raw.get("effort"), path, found),
        hedge="hedge" in allowed,
        sticky=plans.sticky(raw.get("sticky"), path, found),  # type: ignore[arg-type]
        lossless=plans.flag(raw, "lossless", path, found),
        priority=plans.priority(raw.get("priority"), path, found),  # type: ignore[arg-type]
    )


def _mapping(raw: Mapping[str, Any], key: str, path: str, found: Found) -> Mapping[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        found.add(f"{path}.{key}", f"must be a mapping, not {value!r}.")
        return {}
    return value


def _names(raw: Mapping[str, Any], key: str, path: str, found: Found) -> frozenset[str]:
    names = _list(raw.get(key), f"{path}.{key}", found)
    for name in names:
        if not isinstance(name, str):
            found.add(f"{path}.{key}", f"{name!r} is no name.")
    return frozenset(map(str, names))


def _otherwise(value: Any, path: str, found: Found) -> tuple[str, tuple[str, ...]]:
    if value in ("baseline", "refuse"):
        return str(value), ()
    if isinstance(value, Mapping) and set(value) == {"relax"}:
        value = value["relax"]
    elif isinstance(value, str) and value.startswith("relax"):
        value = [part.strip() for part in value.removeprefix("relax").strip(" []").split(",") if part.strip()]
    if isinstance(value, list) and value:
        for name in value:
            if name not in lines.MEASURES:
                found.add(f"{path}.otherwise", f"`{name}` is no measure.", near(name, lines.MEASURES))
        return "relax", tuple(map(str, value))
    found.add(f"{path}.otherwise", f"`{value}` cannot be read.", "Write baseline, refuse, or `relax [latency, cost]`.")
    return "baseline", ()


def _requirements(raw: Mapping[str, Any], path: str, found: Found) -> tuple[Any, ...]:
    out, seen = [], set()
    for index, line in enumerate(_list(raw.get("require"), f"{path}.require", found)):
        place = f"{path}.require[{index}]"
        try:
            parsed = lines.requirement(str(line))
        except lines.Unread as fault:
            found.add(place, fault.message, fault.hint)
            continue
        key = (parsed.measure, parsed.percentile)
        if key in seen:
            found.add(place, f"`{line}`: there is another line for the same measure.")
        seen.add(key)
        if parsed.limit is None and parsed.relative is None and parsed.margin is None:
            continue  # `unlimited`: it only took the default's line away
        if parsed.limit == 0 and parsed.measure != "quality":
            found.add(place, f"`{line}` is impossible: nothing takes no time and costs nothing.")
        out.append(parsed)
    return tuple(out)
