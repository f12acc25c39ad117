"""Hide the operating system behind one protocol: processes, users, limits, sockets, the clock."""
