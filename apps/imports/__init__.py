"""Pairs, and labels that come along, from files and REST."""
