"""Delivery: granted entries in, an outcome for each recipient out. One driver for each channel."""
