"""The template engine: text with expressions in it, compiled once and rendered for each task."""
