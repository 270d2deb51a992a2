"""Statistics with honest intervals; importable on its own, NumPy and SciPy only."""
