"""The matting layer: its mathematics and, on top, the Caffe layers."""

#: Of the whole project: pyproject.toml and the programs' ``--version`` take it from here.
__version__ = "0.1.0"
