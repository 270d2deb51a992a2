"""Variants behind an OpenAI-compatible endpoint: one base in memory, any number of adapters, one batch."""
