"""Triggers, poisoned data sets, and what a defender would try first."""
