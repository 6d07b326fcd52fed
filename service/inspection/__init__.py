"""Checks of files that strangers send. The parent's half is light; the other half runs only in the sandbox."""
