"""The engine in the caller's process: one trace through both halves, without a SERVER span, and the same plan as a server's."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from fw_gateway.telemetry import reader
from fwsdk import Client
from tests.endtoend.conftest import config_for, gateway_of
from tests.endtoend.upstream import USAGE, Upstream
from tests.telemetry.conformance import check

PROGRAM = """\
import sys
from fwsdk import Client, FwError

with Client.embedded(sys.argv[1]) as fw, fw.run("tester") as run:
    with run.step("one"):
        fw.chat("hi", model="fx-ok")
        for _ in fw.stream("hi", model="safe-cut_clean:1"):
            pass
    with run.step("two"):
        fw.chat("hi", model="safe-503")
        try:
            fw.chat("hi", model="fx-400")
        except FwError:
            pass
"""


def test_a_run_in_process_breaks_no_rule_of_the_contract(upstream: Upstream, tmp_path: Path) -> None:
    """Route and attempts hang under the SDK's own chat span, which carries the decision; usage stands on attempts alone."""
    (tmp_path / "fw.yaml").write_text(config_for(upstream))
    (tmp_path / "program.py").write_text(PROGRAM)
    env = {**os.environ, "FW_TRACES_FILE": str(tmp_path / "t.jsonl"), "FW_STATE_DIR": str(tmp_path / "state")}
    subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "fw.yaml")], check=True, env=env, timeout=60
    )
    spans = reader.read(tmp_path / "t.jsonl")
    assert check(spans) == []
    assert len({span.trace_id for span in spans}) == 1
    kinds = Counter((span.scope, span.name.split()[0]) for span in spans)
    assert "SERVER" not in {span.kind for span in spans}
    assert kinds["fw.sdk", "chat"] == kinds["fw.gateway", "route"] == 4
    calls = {span.span_id: span for span in spans if span.scope == "fw.sdk" and span.name.startswith("chat")}
    assert {span.parent_id for span in spans if span.scope == "fw.gateway"} == set(calls)
    assert all("fw.decision.id" in span.attributes for span in calls.values())
    used = sum(span.attributes.get("gen_ai.usage.output_tokens") or 0 for span in spans)
    assert used == 3 * USAGE["completion_tokens"]


def test_both_doors_plan_alike(upstream: Upstream, tmp_path: Path) -> None:
    """The same config and state give the same plan, whether a server or this process makes it."""
    config = config_for(upstream) + "policies: [p.yaml]\n"
    place = f"{{provider: vllm, url: '{upstream.url}', model: fx-ok}}"
    config = config.replace("models:\n", f"models:\n  words: {{deployments: [{place}]}}\n", 1)
    (tmp_path / "p.yaml").write_text(
        "policy: tester\nbaseline: words\ndefault: {minimize: latency, require: [p95 ttft <= 1s]}\n"
    )
    with gateway_of(config, tmp_path) as gateway, Client(f"http://127.0.0.1:{gateway.port}", "any") as fw:
        served = fw.explain("tester/any").model_dump()
    with Client.embedded(str(tmp_path / "fw.yaml")) as fw:
        embedded = fw.explain("tester/any").model_dump()
    for found in (served, embedded):
        found["plan"].pop("decision_id")
        found.pop("text")
    assert json.dumps(served, sort_keys=True, default=str) == json.dumps(embedded, sort_keys=True, default=str)
