"""Planning: what an evaluation costs, and the pilot data that power analyses start from."""
