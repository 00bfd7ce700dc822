"""The queue, leases, drafts, annotations and what they add up to: consensus."""
