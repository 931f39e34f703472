"""What was observed, turned into estimates with intervals: counts that add up over processes, bounds that hold for any shape."""

from fw_policies.estimate.cost import charge
from fw_policies.estimate.sizes import quantise
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.estimate.statistics import Observation, OutcomeSeen, Statistics

__all__ = ["Observation", "OutcomeSeen", "Snapshot", "Statistics", "charge", "quantise"]
