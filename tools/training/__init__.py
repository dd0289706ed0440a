"""Training with `caffe train`: its stages, their logs and what they end with."""
