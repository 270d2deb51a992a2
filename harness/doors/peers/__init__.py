"""Result files of other evaluation tools: one module a format, each with its `PEER`; `catalogue` finds them by name."""
