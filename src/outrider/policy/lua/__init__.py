"""Policy in Lua: the runtime that runs scripts written for Momentum, and their dialect."""
