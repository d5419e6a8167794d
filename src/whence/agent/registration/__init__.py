"""Keeps trunks registered: requests, answers, schedules."""
