"""Training as the stages share it: recipe, lean trainer, callbacks, checkpoints, adapter files."""
