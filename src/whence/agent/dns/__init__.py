"""The addresses of servers: DNS look-ups, their cache, and siblings."""
