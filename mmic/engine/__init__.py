"""Glue to mmengine: configs, loops, hooks."""
