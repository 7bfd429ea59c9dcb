"""Numbers from samples and models: distances in feature space, likelihoods, what was claimed and is so."""
