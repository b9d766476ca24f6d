"""A strategy and a space for searchmerge, to copy from."""
