"""The HTTP API: paths and models. The rules are in other packages."""
