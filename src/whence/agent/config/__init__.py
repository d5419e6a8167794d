"""Models of the settings file, and the code that reads and checks it."""
