"""Params of tests: what there is (table), what holds them (params), and which one wins (config)."""
