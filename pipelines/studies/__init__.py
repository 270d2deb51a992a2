"""Human studies: made, and read back beside judges, as corrections, pairs and feedback."""
