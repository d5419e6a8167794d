"""The contestants of `make bench`."""
