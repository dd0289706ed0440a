"""Programs people run, and the prediction and evaluation code they share."""

import os

# Caffe reads it when it is imported, and prints every net it builds without it.
os.environ.setdefault("GLOG_minloglevel", "2")
