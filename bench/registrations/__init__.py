"""`make bench-registrations`: what it costs to register, beside Kamailio's own `uac` module."""
