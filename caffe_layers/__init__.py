"""The matting layer: its mathematics and, on top, the Caffe layers."""
