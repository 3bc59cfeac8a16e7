"""How many examples a property test tries: fewer in `make test-quick`."""

from hypothesis import settings

EXAMPLES = settings().max_examples  # of the profile that was chosen before the tests are imported
