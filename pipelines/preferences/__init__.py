"""Preference pairs: made or imported, ranked, audited, planned into rows; and the stages that train on them."""
