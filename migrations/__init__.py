"""Migrations of the database, applied by `expunge migrate`; the API never migrates by itself."""
