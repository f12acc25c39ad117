"""Be the command lines: piesctl, and the arguments of piesd."""
