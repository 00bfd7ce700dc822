"""Language models: what is asked, what comes back, and the two kinds of backends that answer."""
