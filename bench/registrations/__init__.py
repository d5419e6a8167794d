"""`make bench-registrations`: the cost of registrations, for Whence and Kamailio's `uac`."""
