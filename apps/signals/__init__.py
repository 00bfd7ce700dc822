"""Scorers, the raw signals they store, and the queue's priority."""
