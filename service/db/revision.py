"""The migration that this code needs; a test holds it equal to the newest file in migrations/."""

HEAD = "0004"
