"""The registration of one trunk: its states, its waits, its history."""
