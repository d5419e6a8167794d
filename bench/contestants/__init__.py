"""Who is compared, in the order of the table."""
