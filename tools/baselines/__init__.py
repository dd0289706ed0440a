"""What Table 1 compares with, beside the nets: the graph cut, and the input of PortraitFCN+."""
