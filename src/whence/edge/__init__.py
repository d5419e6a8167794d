"""Whence's code in Kamailio's worker processes. It uses the standard library only."""
