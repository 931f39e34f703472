"""The command tree, and the border where everything that goes wrong becomes one message and an exit code."""

import os
import sys
from importlib.metadata import entry_points

import typer

from fw_gateway.cli import audit, bench, chat, check, doctor, explain, extra, models, output, policy, state, trace

app = typer.Typer(
    name="fw",
    help="A query optimizer for agent LLM calls: say what a step needs, get the plan that meets it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
def up() -> None:
    """Start the gateway (with no config: the embedded model). `fw up --help` has the options."""


app.command("chat", epilog="Examples: fw chat 'Why is the sky blue?'; fw chat --model coding/plan < question.txt")(
    chat.chat
)
app.command("models", epilog="Examples: fw models; fw models -c fw.yaml; fw models --provider openai")(models.models)
app.add_typer(models.group, name="model")
app.add_typer(policy.group, name="policy")
app.command("explain", epilog=explain.EXAMPLES)(explain.explain)
app.command("audit", epilog=audit.EXAMPLES)(audit.audit)
app.add_typer(trace.group, name="trace")
app.add_typer(bench.group, name="bench")
app.add_typer(state.group, name="state")
app.command("doctor", epilog="Examples: fw doctor; fw doctor -c fw.yaml")(doctor.doctor)
app.add_typer(check.group, name="config")
app.command("version", epilog="Example: fw version --json")(check.version)

for _entry in sorted(entry_points(group="fw.commands"), key=lambda entry: entry.name):
    extra.add(app, _entry)


def run(argv: list[str]) -> int:
    """Run one command; its exit code."""
    try:
        app(args=argv, prog_name="fw")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else output.FAILED
    except output.Fail as fault:
        return output.report(fault, as_json="--json" in argv)
    except KeyboardInterrupt:
        output.note("stopped.")
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `fw models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
