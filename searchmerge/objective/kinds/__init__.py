"""The kinds of tasks, one a file."""
