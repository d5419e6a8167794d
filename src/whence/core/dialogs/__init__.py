"""Dialogs that the edge let in: their parties, and where requests inside lead."""
