"""Who may use the API: the file of tokens, their verification, and the audit log."""
