"""Corpus formats, one module each: its `FORMAT` is all that `pipelines.corpus.reading` knows of it."""
