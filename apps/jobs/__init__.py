"""The Job row of every long task, and the only function that enqueues."""
