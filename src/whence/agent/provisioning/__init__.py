"""A set of trunks and users, made effective while the agent runs."""
