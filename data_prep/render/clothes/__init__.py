"""Clothes and what people wear on head, neck and face."""
