"""The commands that start and supervise Kamailio and the agent."""
