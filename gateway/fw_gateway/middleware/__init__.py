"""What happens to every request before and after its endpoint: one concern a module, put in order by `border`."""
