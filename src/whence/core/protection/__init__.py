"""Bounds for unknown sources: connections, password guesses, log lines."""
