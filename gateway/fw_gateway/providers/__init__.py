"""Everything that differs between providers."""
