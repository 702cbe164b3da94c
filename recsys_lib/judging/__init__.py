"""Who competes on what, and how it came out."""
