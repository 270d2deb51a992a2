"""What a measure is, and those that ship: held-out loss, diversity, repetition, length; each module declares its own.

A new one is a module here with `MEASURES = (make_measure(function, …),)` and its test.
"""
