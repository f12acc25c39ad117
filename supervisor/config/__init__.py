"""Turn configuration files into a plan, or into all the problems they have."""
