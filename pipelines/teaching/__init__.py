"""Teaching a judge: TRAIN films, faults planted in them, and VALIDATION films to turn its marks into probabilities."""
