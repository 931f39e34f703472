"""A policy as YAML, every step spelt out; it parses back to the same policy."""

import json
from collections.abc import Mapping
from typing import Any

from fw_policies.spec.model import Policy


def show(policy: Policy) -> str:
    """What results for every step after defaults are merged in."""
    out = [f"# version {policy.digest}"]
    for key, value in policy.canonical.items():
        if key in {"default", "steps"}:
            continue
        out.append(f"{key}: {_flow(value)}")
    out += ["default:", *_block(policy.canonical["default"], "  ")]
    steps = policy.canonical["steps"]
    if steps:
        out.append("steps:")
        for step, raw in steps.items():
            out += [f"  {_flow(step)}:", *_block(raw, "    ")]
    return "\n".join(out) + "\n"


def _block(raw: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in raw.items():
        if isinstance(value, list) and value and key in {"require", "cases"}:
            lines.append(f"{indent}{key}:")
            lines += [f"{indent}  - {_flow(item)}" for item in value]
        else:
            lines.append(f"{indent}{key}: {_flow(value)}")
    return lines


def _flow(value: Any) -> str:
    """One value in flow style: JSON, which YAML 1.2 contains; plain words stay plain."""
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum() and not value[0].isdigit():
        return value if value.lower() not in {"true", "false", "null", "yes", "no"} else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
