"""Which trunk an inbound request comes from, and why."""
