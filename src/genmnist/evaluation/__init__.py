"""Numbers from samples and models: distances in features, likelihoods, walks, and all of them in a suite."""
