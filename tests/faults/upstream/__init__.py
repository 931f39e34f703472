"""An upstream on raw sockets that misbehaves exactly as it is told, and keeps the truth about it."""
