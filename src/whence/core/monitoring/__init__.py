"""Alarms and unknown sources, bounded whatever anybody sends."""
