"""`fw up`: check, fetch the model if need be, serve. Loads nothing that the server itself does not need."""

import argparse
import logging
import sys
from typing import Any

import orjson

from fw_gateway.cli import workers
from fw_gateway.config import Config, ConfigError, Endpoint, load
from fw_gateway.ledger import LedgerError
from fw_gateway.providers.local import LocalModelError, PullError, ensure, have, missing

_EXPECTED = (OSError, LedgerError, LocalModelError, PullError)
"""What may keep a good config from being served; anything else is a bug, and shown as one."""
_EXAMPLES = """examples:
  fw up                              the embedded model, no key needed
  fw up -c fw.yaml                   your models and policies
  fw up --port 0                     any free port
  fw up -c fw.yaml --workers 4       four processes behind one port
  FW_API_KEY=… fw up --host 0.0.0.0  for others too: needs a strong key
"""


def run(argv: list[str]) -> int:
    """Serve until told to stop; 0 after a clean end, 1 when it cannot start, 2 when the config is wrong."""
    options = _parser().parse_args(argv)
    _logs(json_lines=options.json)
    try:
        config = load(
            options.config,
            host=options.host,
            port=options.port,
            state_dir=options.state_dir,
            workers=options.worker[1] if options.worker else options.workers,
        )
    except ConfigError as fault:
        return _fail(str(fault), 2)
    if config.server.workers > 1 and (reason := workers.unfit(config)):
        return _fail(reason, 2)
    if reason := _prepare(config):
        return _fail(reason, 1)
    return _serve(config, options)


def _serve(config: Config, options: argparse.Namespace) -> int:
    """Serve in this process, or look after those that do."""

    def ready(url: str) -> None:
        if options.worker:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        else:
            _banner(config, url, json_lines=options.json)

    try:
        if config.server.workers > 1 and not options.worker:
            return workers.run(_again(options), config, ready)
        from fw_gateway.app import serve  # noqa: PLC0415 - what is wrong with the command is said before the server is loaded

        return serve(config, ready)
    except (*_EXPECTED, ExceptionGroup) as fault:
        causes = _causes(fault)
        if not all(isinstance(cause, _EXPECTED) for cause in causes):
            raise
        return _fail(_sentence(causes[0], config), 1)
    except KeyboardInterrupt:
        return 0


def _again(options: argparse.Namespace) -> list[str]:
    """The command of one worker, but for its port and number."""
    command = [sys.executable, "-m", "fw_gateway", "up"]
    for name in ("config", "host", "state_dir"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name.replace('_', '-')}", value]
    return [*command, "--json"] if options.json else command


def _share(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    return int(number), int(count)


def _several(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= 256:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 256, not {text!r}")
    return int(text)


def _causes(fault: Exception) -> list[Exception]:
    """The exceptions in a group of groups; one alone is its own cause."""
    if not isinstance(fault, ExceptionGroup):
        return [fault]
    return [cause for part in fault.exceptions for cause in _causes(part)]


def _sentence(fault: Exception, config: Config) -> str:
    """Why the server cannot start, and what to do."""
    if isinstance(fault, OSError):
        host, port = config.server.host, config.server.port
        hint = f"Another program may listen on port {port}; `fw up --port {port + 1}` takes the next one."
        return f"cannot listen on {host}:{port}: {fault.strerror or fault}. {hint}"
    return str(fault)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fw up",
        description="Start the gateway: an OpenAI-compatible server that chooses the model by policy.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="config file; without it the embedded model is served")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 8400; 0: any free one)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="where calls and statistics are kept (default .fw beside the config)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=_several, help="processes that serve together (Linux; default 1)"
    )
    parser.add_argument("--worker", type=_share, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="logs and the start-up report as JSON lines")
    return parser


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "ts": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


def _logs(*, json_lines: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines() if json_lines else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"fw up: {message}\n")
    return code


def _prepare(config: Config) -> str:
    """Bring what embedded models need; why that cannot be done, or nothing."""
    names = {endpoint.embedded for endpoint in config.endpoints if endpoint.embedded}
    if not names:
        return ""
    if reason := missing():
        return reason
    for name in sorted(names):
        if have(name) is not None:
            continue
        try:
            ensure(name, progress=_Meter())
        except PullError as fault:
            return str(fault)
    return ""


class _Meter:
    """Progress of long work on standard error: in place on a terminal, else a line every tenth."""

    def __init__(self) -> None:
        self._last = ("", -1)

    def __call__(self, what: str, done: int, total: int) -> None:
        share = 10 * done // total if total else 0
        if (what, share) == self._last:
            return
        changed = what != self._last[0]
        self._last = (what, share)
        size = f" {done >> 20} of {total >> 20} MiB" if total else ""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{what}{size}" + ("\n" if total and done >= total else ""))
        elif changed or share in (5, 10):
            sys.stderr.write(f"{what}{size}\n")
        sys.stderr.flush()


def blocked(config: Config, endpoint: Endpoint) -> str:
    """Why a deployment cannot serve, for people; empty: it can."""
    reason = config.blocked.get(endpoint.target.deployment, "")
    if reason == "no_credential":
        return f"no credential ({endpoint.row.key_env})" if endpoint.row.key_env else "no credential"
    return "litellm is not installed" if reason == "no_bridge" else reason


def facts(config: Config, url: str) -> dict[str, Any]:
    """What the start-up report says."""
    models: dict[str, list[dict[str, str]]] = {}
    for endpoint in config.endpoints:
        target = endpoint.target
        reason = blocked(config, endpoint)
        models.setdefault(target.model, []).append({"deployment": target.deployment, "excluded": reason})
    return {
        "url": url,
        "openai_base_url": f"{url}/v1",
        "key": "FW_API_KEY" if config.server.api_key else None,
        "models": models,
        "policies": sorted(config.policies),
        "agents": dict(config.agents),
        "state_dir": config.server.state_dir,
        "traces_file": config.telemetry.traces_file,
        "prices": config.prices,
        "config": config.source or None,
        "assumptions": list(config.assumptions),
        "warnings": list(config.warnings),
    }


def _banner(config: Config, url: str, *, json_lines: bool) -> None:
    report = facts(config, url)
    if json_lines:
        sys.stdout.write(orjson.dumps({"event": "ready", **report}).decode() + "\n")
        sys.stdout.flush()
        return
    deployments = [item for items in report["models"].values() for item in items]
    serving = [item["deployment"] for item in deployments if not item["excluded"]]
    waiting: dict[str, list[str]] = {}
    for item in deployments:
        if item["excluded"]:
            waiting.setdefault(item["excluded"], []).append(item["deployment"])
    lines = [
        f"fw is up at {url}",
        f"  models     {', '.join(serving) or 'none can serve'}",
        *(f"  excluded   {reason}: {', '.join(names)}" for reason, names in waiting.items()),
        f"  policies   {', '.join(report['policies'])}",
        f"  state      {report['state_dir']}",
        f"  traces     {report['traces_file'] or 'not written'}",
        f"  prices     {report['prices']}",
        *(f"  assumed    {text}" for text in report["assumptions"]),
        *(f"  warning    {text}" for text in report["warnings"]),
        f"  use it     export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={'$FW_API_KEY' if report['key'] else 'any'}",
        "             and ask for `model: auto`; Ctrl-C stops it",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
