"""Reports in which every number carries its interval, its n and the path to its rows."""
