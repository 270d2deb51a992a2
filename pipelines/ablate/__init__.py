"""Ablations: arms × seeds as a graph of stages, run by local processes or Ray, analysed together."""
