"""Users' calls: the number, the trunks, what each trunk gets, and what its answer means."""
