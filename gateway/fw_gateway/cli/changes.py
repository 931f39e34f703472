"""What changes from one lock to another: both are files, so nothing is planned anew; the ledger says how many calls it is about."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from fw_gateway.cli import lessons, output
from fw_gateway.config import Config
from fw_gateway.ledger.sqlite import FILE
from fw_policies.lock import Lock, LockedStep, Unfit, from_dict


def lock(name: str) -> Lock | None:
    """The lock in a file; None when `name` is no JSON file, and so is a policy's.

    Raises:
        Fail: it is JSON, and no lock that can be read.
    """
    path = Path(name)
    if path.suffix != ".json":
        return None
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        raise output.Fail(f"{name} cannot be read.", code=output.USAGE) from None
    except json.JSONDecodeError as fault:
        raise output.Fail(f"{name} is not JSON: {fault}.", code=output.USAGE) from None
    except Unfit as fault:
        raise output.Fail(f"{name}: {fault}", code=output.USAGE) from None


def diff(config: Config, a: Lock, b: Lock, *, since_ns: int) -> dict[str, Any]:
    """Per step: what is locked before and after, what the change costs a month at the volume so far, and what is no longer certified."""
    path = Path(config.server.state_dir) / FILE
    past = [one for one in lessons.history(config, since_ns) if one.policy == a.policy] if path.is_file() else []
    seen = Counter(one.step for one in past)
    days = lessons.days(config, since_ns) if past else 1.0
    rows = []
    for step in sorted(a.steps.keys() | b.steps.keys()):
        before, after = a.steps.get(step, LockedStep(())), b.steps.get(step, LockedStep(()))
        shapes = _shape(before, a), _shape(after, b)
        rows.append(
            {
                "step": step,
                "calls": seen[step],
                "before": shapes[0],
                "after": shapes[1],
                "changed": shapes[0] != shapes[1],
                "monthly": _monthly(before, after, seen[step] / days * lessons.MONTH),
                "promise": _promise(before, after),
            }
        )
    return {"sides": [a.policy, b.policy], "versions": [a.digest, b.digest], "steps": rows}


def _shape(step: LockedStep, of: Lock) -> dict[str, Any]:
    """A step that is not certified serves the baseline."""
    efforts = sorted({arm.effort for arm in step.arms if arm.effort is not None})
    effort = ", ".join(efforts) or None
    if not step.arms:
        return {"strategy": "baseline", "models": [of.baseline], "verify": [], "effort": None}
    if len(step.arms) == 1:
        models = list(step.arms[0].models)
        return {
            "strategy": "single" if len(models) == 1 else "fall_back",
            "models": models,
            "verify": [],
            "effort": effort,
        }
    names = [f"{' then '.join(arm.models)} {arm.weight:.0%}" for arm in step.arms]
    return {"strategy": "mixture", "models": names, "verify": [], "effort": effort}


def _monthly(before: LockedStep, after: LockedStep, volume: float) -> tuple[float, float, float] | None:
    """Nano-USD a month: the change with bounds at the locks' 90 % (MOVER); None when a cost is unknown or there were no calls."""
    if volume <= 0:
        return None
    if before.arms == after.arms:
        return 0.0, 0.0, 0.0
    old, new = before.cost, after.cost
    if old is None or new is None:
        return None
    change = new[0] - old[0]
    down = math.hypot(new[0] - new[1], old[2] - old[0])
    up = math.hypot(new[2] - new[0], old[0] - old[1])
    return volume * change, volume * (change - down), volume * (change + up)


def _promise(before: LockedStep, after: LockedStep) -> str:
    """What happens to the certificate; empty when nothing does."""
    old, new = before.certificate, after.certificate
    if old is None and new is None:
        return ""
    if new is None:
        return f"lost ({after.reason})" if after.reason else "lost"
    if old is None:
        return f"gained: {new.promise}, to {new.expires}"
    return "" if old.promise == new.promise else f"changed: {old.promise} → {new.promise}"
