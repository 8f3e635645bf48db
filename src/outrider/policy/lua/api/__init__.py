"""Momentum's API for scripts in Lua, one module for each of its packages."""
