"""From text and environment to one frozen Config; unknown keys are errors. The only reader of the environment in the gateway."""

from fw_gateway.config.environment import environment, gateway_url, model_dir, process_environment
from fw_gateway.config.load import load
from fw_gateway.config.model import MOST, Config, Endpoint, Secret, ServerConfig, TelemetryConfig
from fw_gateway.config.problems import ConfigError, Problem

__all__ = [
    "MOST",
    "Config",
    "ConfigError",
    "Endpoint",
    "Problem",
    "Secret",
    "ServerConfig",
    "TelemetryConfig",
    "environment",
    "gateway_url",
    "load",
    "model_dir",
    "process_environment",
]
