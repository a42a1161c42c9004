"""The durable execution of a stored plan: steps in a journal, each re-observed before it begins and resumed after an interruption."""
