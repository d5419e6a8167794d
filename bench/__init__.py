"""What a call costs: comparisons, each a command that prints a ratio."""
