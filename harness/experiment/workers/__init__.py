"""Workers: stages run in this process, by local processes or on a Ray cluster."""
