"""Patterns of shells' prompts, for who names none."""

PROMPT = r"[\#\$]\s*$"
