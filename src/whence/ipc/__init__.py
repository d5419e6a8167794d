"""The messages between the edge and the agent."""
