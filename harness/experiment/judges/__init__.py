"""Judges at work: measures of an experiment, commands outside one; what they would cost, what their controls say."""
