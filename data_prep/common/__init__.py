"""What every part of data preparation stands on: files, versions."""
