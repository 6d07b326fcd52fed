"""The commands of `expunge` that are not needed to serve; each module is imported when its command is called."""
