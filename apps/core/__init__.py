"""Abstract models, errors, Markdown, outgoing requests, artifacts, and the page-or-fragment helper."""
