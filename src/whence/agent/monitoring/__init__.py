"""What happened: calls, alarms, conflicts, unknown sources, metrics."""
