"""What the gateway knows of now: health, load, budgets, statistics, and the frozen world that decisions are made in."""

from fw_gateway.state.health import Busy, Circuit, Deployment
from fw_gateway.state.watch import Judged
from fw_gateway.state.world import Worlds

__all__ = ["Busy", "Circuit", "Deployment", "Judged", "Worlds"]
