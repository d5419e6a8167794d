"""Read the trunks of other programs' files: `whence import`.

A reader makes records and notes of text; it opens no file. `to_toml` writes the settings file.
"""
