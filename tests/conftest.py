"""Settings for all tests."""

from hypothesis import settings

# How long an example takes is the machine's affair (bench/ measures); a busy one must not fail a test.
settings.register_profile("totemd", deadline=None, print_blob=True)
settings.load_profile("totemd")
