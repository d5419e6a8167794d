"""The directory: one SQLite file that the agent writes and the edge reads."""
