"""The rules that say to which trunk an inbound request belongs, and why."""
