"""Calls, alarms, conflicts, unknown sources and metrics: what the agent observes."""
