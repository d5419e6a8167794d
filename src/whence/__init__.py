"""Whence tells a SIP edge whence a call comes."""
