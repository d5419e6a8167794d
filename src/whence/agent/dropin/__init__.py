"""Beside an existing Kamailio: what its `uac` module registers."""
