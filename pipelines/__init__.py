"""What makes adapters: corpora, training, preferences; and the `screentest` command."""

from harness.experiment.kinds import provide

provide("pipelines.stages")
