"""Folders of portraits and mattes: what their lists name and whether their files can be right."""
