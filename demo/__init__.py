"""The demo: Whence's main job on one machine, with a real registrar and real calls."""
