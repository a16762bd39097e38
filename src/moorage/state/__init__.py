"""Durable state on a local disk: an SQLite journal with one writer, and typed collections over it."""
