"""Prompts, responses and comparisons: what is judged."""
