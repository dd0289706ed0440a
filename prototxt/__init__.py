"""The network definitions: NetSpec generators and the files they write."""
