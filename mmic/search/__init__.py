"""Searches: a trained supernet in, a ``DilationPattern`` out. They need torch and mmengine."""
