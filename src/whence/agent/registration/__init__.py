"""Keep trunks registered: requests, answers, schedules."""
