"""HTTP to control and back: decode, call, encode."""
