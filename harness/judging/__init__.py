"""Judges, their criteria, and the planted controls that qualify them."""
