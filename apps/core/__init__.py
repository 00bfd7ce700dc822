"""Abstract models, errors, Markdown, artifacts, and the page-or-fragment helper."""
