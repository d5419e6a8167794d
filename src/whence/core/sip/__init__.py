"""SIP as text and values: addresses, URIs, Contacts, digests, messages, telephone numbers."""
