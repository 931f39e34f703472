"""The tracer behind every span: the program's own provider, or the one the installed gateway brings, or none."""

from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version

from opentelemetry import trace

from fwsdk import config

SCOPE_NAME = "fw.sdk"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.1"


@cache
def package_version() -> str:
    """Of the installed distribution."""
    try:
        return version("fwsdk")
    except PackageNotFoundError:
        return "0"


@cache
def _brought() -> trace.TracerProvider | None:
    """The provider of entry point group `fwsdk.tracer`: asked once, and only when somebody wants spans."""
    for point in entry_points(group="fwsdk.tracer"):
        provider: trace.TracerProvider | None = point.load()()
        if provider is not None:
            return provider
    return None


def tracer() -> trace.Tracer:
    """A tracer of scope `fw.sdk`. A provider that the program installed always comes first."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider) and config.wants_spans():
        provider = _brought() or provider
    return provider.get_tracer(SCOPE_NAME, package_version(), schema_url=SCHEMA_URL)
