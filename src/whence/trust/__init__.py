"""Checks that only root and this user can change files and folders."""
