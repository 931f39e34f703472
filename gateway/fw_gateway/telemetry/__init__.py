"""One wide record per call, rendered in batches as spans, events and metrics; nothing of it on the call's path."""

from fw_gateway.telemetry.attributes import call_attributes
from fw_gateway.telemetry.recorder import Recorder, Sink

__all__ = ["Recorder", "Sink", "call_attributes"]
