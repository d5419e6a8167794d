"""A reader of Kamailio's configuration language."""
