"""Codecs of provider protocols: call to bytes, bytes to chunks. Pure, and ignorant of each other."""
