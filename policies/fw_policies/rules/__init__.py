"""One rewrite of a plan per module, `(plan, ask) -> plan`, each noting why it changed it."""
