"""Translation with a trained model; knows checkpoints, not training."""
