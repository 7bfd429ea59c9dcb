"""The theory of diffusion on plain tensors: noise schedules, prediction targets, samplers."""
