"""Alarms and unknown sources, bounded whatever strangers send."""
