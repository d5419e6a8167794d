"""Commands that start and supervise the service."""
