"""Networks only: tensors in, tensors out, no loss and no sampling."""
