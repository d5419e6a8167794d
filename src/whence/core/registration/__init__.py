"""The registration of one trunk: its states, its waiting times, its history."""
