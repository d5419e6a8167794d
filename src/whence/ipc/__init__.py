"""What the edge and the agent send to each other."""
