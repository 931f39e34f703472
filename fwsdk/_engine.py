"""The gateway inside this process, found by entry point: the SDK imports none of its code."""

from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points

from fwsdk.config import require_network
from fwsdk.errors import MissingExtra
from fwsdk.transport import Engine

Opener = Callable[[str | None], Awaitable[Engine]]


def find() -> Opener:
    """How to open an engine.

    Raises:
        MissingExtra: no gateway is installed, or not all of it.
    """
    for point in entry_points(group="fwsdk.engine"):
        try:
            opener: Opener = point.load()
        except ImportError as fault:
            raise _missing(f"the gateway is not completely installed ({fault.name or fault}).") from fault
        return opener
    raise _missing("no gateway is installed in this environment.")


async def open_engine(path: str | None) -> Engine:
    """Open it, with the config file at `path` or the built-in config.

    Raises:
        MissingExtra: see `find`.
        NetworkForbidden: an engine makes real calls, and a test forbade them.
    """
    require_network()
    return await find()(path)


def _missing(message: str) -> MissingExtra:
    return MissingExtra(message, hint="Run: pip install 'fwsdk[gateway]'")
