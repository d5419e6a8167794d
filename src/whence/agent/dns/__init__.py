"""Where servers are: DNS answers, kept and refreshed."""
