"""The `whence` command: one file a command."""
