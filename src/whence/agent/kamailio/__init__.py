"""What the agent writes for Kamailio and reads of it."""
