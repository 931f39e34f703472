"""Who is speaking: the resource and the scope that every line of telemetry carries."""

from importlib.metadata import PackageNotFoundError, version

from opentelemetry.sdk.resources import OTELResourceDetector, Resource, ServiceInstanceIdResourceDetector

SCOPE = "fw.gateway"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.1"
"""Of the profile genai/1.41."""


def package_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("fwsdk")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "0"


def resource(service: str, *, environment: str = "", config_hash: str = "", instance: bool = True) -> Resource:
    """The resource of this process. What the operator says in OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES comes first."""
    ours: dict[str, str] = {"service.name": service, "service.version": package_version()}
    if environment:
        ours["deployment.environment.name"] = environment
    if config_hash:
        ours["fw.config.hash"] = config_hash
    if instance:
        ours.update({key: str(value) for key, value in ServiceInstanceIdResourceDetector().detect().attributes.items()})
    said = OTELResourceDetector().detect().attributes
    return Resource.create({key: value for key, value in ours.items() if key not in said})
