"""What everything stands on: clock, errors, ids, file primitives. Imports nothing of the house."""
