"""The native syntax of GNU pies: from its text to the tables that TOML would give."""
