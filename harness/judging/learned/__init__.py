"""A learned judge's parts: what it looks at, what it was taught, and where that is kept."""
