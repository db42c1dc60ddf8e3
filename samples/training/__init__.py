"""How the sample models are made and measured: only training and export need PyTorch."""
