"""What fills docs/results: runs on real images, and the pages made of them."""
