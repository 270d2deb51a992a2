"""Readers of dialogue corpora: Cornell, ConvoKit, JSONL and the sample that ships."""
