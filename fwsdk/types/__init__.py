"""The wire, as types: one module per endpoint, shared by client and gateway. Unknown fields are kept, never an error."""
