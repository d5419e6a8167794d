"""The demo: Whence's main task on one machine, with a real registrar and real calls."""
