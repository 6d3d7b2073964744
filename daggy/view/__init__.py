"""What people see of a run: shapes, explanations, neighbours, selectors and previews of edits. Pure."""
