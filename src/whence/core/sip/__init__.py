"""The grammar and values of SIP: URIs, Contacts, messages, digests, addresses, numbers."""
