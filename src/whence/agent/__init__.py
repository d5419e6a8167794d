"""The daemon beside Kamailio: registers the trunks, writes the directory, answers the API."""
