"""The benchmark: what piesd costs, beside what the operating system and a bare loop cost."""
