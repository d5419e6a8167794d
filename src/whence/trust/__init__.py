"""Checks of what may be trusted: owners of files and folders, and names in certificates."""
