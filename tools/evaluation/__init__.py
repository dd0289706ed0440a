"""Errors of mattes: measures, methods that are compared, estimates, and reports."""
