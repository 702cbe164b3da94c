"""Networks by hand: every gradient derived and checked."""
