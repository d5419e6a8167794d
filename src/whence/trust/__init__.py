"""Whether files and their folders belong to root or to this user alone."""
