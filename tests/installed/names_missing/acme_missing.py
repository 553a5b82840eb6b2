"""A plugin without the class that its entry point names."""
