"""The agent and the installer for a Kamailio whose module `uac` registers the trunks."""
