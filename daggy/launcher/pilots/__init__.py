"""Agents that a place with a queue of its own starts when tasks want them."""
