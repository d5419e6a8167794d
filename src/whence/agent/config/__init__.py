"""The configuration file: its models, and how it is read and checked."""
