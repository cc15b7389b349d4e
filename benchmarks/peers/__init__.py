"""Programs of others, each run in its own virtual environment."""
