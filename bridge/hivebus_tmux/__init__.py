"""hivebus over tmux: agents' windows as a transport with honestly poor capabilities, and the way out of it."""
