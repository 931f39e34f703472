"""One rewrite of a plan per module, each noting why it changed it."""
