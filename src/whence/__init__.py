"""Whence identifies the SIP trunk of each inbound call by its source address."""
