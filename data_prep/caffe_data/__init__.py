"""From a dataset to what Caffe trains on: databases, shape mask, p(alpha)."""
