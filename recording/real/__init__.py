"""The paper's CIFAR-10 columns computed by the library alone, in pieces that survive a kill at any moment."""
