"""What people see of a run: page, table, model card, progress."""
