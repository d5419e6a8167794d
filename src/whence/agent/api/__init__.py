"""The HTTP API: routers and models; no rule lives here."""
