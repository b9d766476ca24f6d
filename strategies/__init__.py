"""Search strategies, one a file; they know only `searchmerge.types`."""
