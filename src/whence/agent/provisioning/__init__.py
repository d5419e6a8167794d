"""Applies a new set of trunks and users while the agent runs."""
