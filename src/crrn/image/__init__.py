"""Pure tensor functions on images (N, C, H, W): gradient, filters, similarity, padding."""
