"""The `fw` command. `fw up` goes a way of its own that loads nothing the server does not need."""

import sys
from importlib.util import find_spec

_NEEDED = ("aiohttp", "orjson", "ruamel.yaml", "typer", "rich", "opentelemetry.sdk")
PIP_LINE = "pip install 'fwsdk[gateway,agents,local]'"


def main() -> None:
    """Entry point: run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def lacking() -> list[str]:
    """Packages of the gateway extra that are not installed."""
    absent = []
    for name in _NEEDED:
        try:
            found = find_spec(name) is not None
        except ModuleNotFoundError:  # the parent package is not there
            found = False
        if not found:
            absent.append(name.partition(".")[0])
    return absent


def run(argv: list[str]) -> int:
    """Run one command; its exit code: 0 good, 1 it failed, 2 it was asked or configured wrongly."""
    if absent := lacking():
        sys.stderr.write(f"fw: the gateway is not installed here ({', '.join(absent)} missing).\nRun: {PIP_LINE}\n")
        return 1
    if argv[:1] == ["up"]:
        from fw_gateway.cli import up  # noqa: PLC0415 - the server must not load the command line's libraries

        return up.run(argv[1:])
    from fw_gateway.cli import app  # noqa: PLC0415 - and the other way round

    return app.run(argv)
