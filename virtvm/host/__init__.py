"""The host itself: its processes, commands, logs, addresses and pictures, and the state that they share."""
