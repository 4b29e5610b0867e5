"""What the pytest plugin is made of; virtvm.pytest_plugin has its hooks."""
