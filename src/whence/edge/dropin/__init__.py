"""The edge's handlers inside an existing Kamailio."""
