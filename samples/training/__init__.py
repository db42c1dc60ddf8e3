"""Train, export and evaluate the sample models; only training and export need PyTorch."""
