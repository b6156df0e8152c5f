"""Fuzzing: an engine against its documents."""
