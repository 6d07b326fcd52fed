"""What `expunge bench` measures, on servers of its own that end with it."""
