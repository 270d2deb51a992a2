"""What runs: corpora, training, evaluation and the `screentest` command."""
