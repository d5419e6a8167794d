"""Dialogs that the edge let in: their parties, cookies and request paths."""
