"""The contestants: programs that register trunks, relay calls, or both."""
