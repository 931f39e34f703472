"""The one case of the demo, and what is right about it."""

from fw_agents.support.graph import Case

CASE: Case = {
    "name": "Sam",
    "message": "Hello, where is my parcel? Order 1042 should have been here on Wednesday.",
    "order": "1042",
}
RIGHT = "delivery"
"""The category a person would give it."""
