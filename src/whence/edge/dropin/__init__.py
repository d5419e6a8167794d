"""The handlers for an existing Kamailio whose module `uac` registers the trunks."""
