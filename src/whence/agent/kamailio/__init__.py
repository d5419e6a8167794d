"""The files that the agent writes for Kamailio, and Kamailio's location table."""
