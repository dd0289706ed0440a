"""Strand hair, from hair styles to single strands."""
