"""Votes and quorum: arithmetic (pure), rules (pure), and the service around them."""
