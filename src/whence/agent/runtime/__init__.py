"""The agent as a process: start, stop, signals, tasks."""
