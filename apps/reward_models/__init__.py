"""Training runs, reward model versions, evaluations, promotion and retrain policies."""
