"""What a GPU really takes and gives: the product's own trainers, judges and generation beside a bare loop and TRL.

Random weights in the shapes of Qwen 2.5, windows and pairs of the sample corpus, no network. Each part is a process of
its own with a time limit of its own, and its results are on disk as they come, so that a run that is cut still tells.
What a missing package keeps from being measured is said in its place.
"""
