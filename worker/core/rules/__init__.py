"""Rules over responses: measured properties, how they decide, the miner, and what is measured of a rule."""
