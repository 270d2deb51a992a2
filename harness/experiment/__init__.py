"""Experiments as declarations: what is compared, what counts as a difference, and the analysis that follows from it.

Starts nothing: pipelines run the arms and hand the rows over.
"""
