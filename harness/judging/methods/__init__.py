"""Judge methods, one module each: its `METHOD` is all that the harness knows of it (`harness.judging.method`)."""
