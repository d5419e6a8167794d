"""The pure part, shared by edge and agent: no I/O, no clock, no randomness."""
