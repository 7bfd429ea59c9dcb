"""Pictures from tensors and numbers."""
