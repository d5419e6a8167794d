"""Our code inside Kamailio's worker processes: standard library only, run by the system's Python."""
