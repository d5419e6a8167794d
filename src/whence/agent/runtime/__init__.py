"""The agent as a process: state directory, lock, signals, tasks, due queue."""
