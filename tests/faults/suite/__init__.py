"""A black-box suite: it knows a base URL, a key, a start command and the upstream's truth, and of the gateway nothing else."""
