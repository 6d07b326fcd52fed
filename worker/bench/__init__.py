"""What `expunge-worker bench` measures: each file is one question, and answers with one JSON object."""
