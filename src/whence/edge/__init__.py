"""Our code inside Kamailio's worker processes: standard library only."""
