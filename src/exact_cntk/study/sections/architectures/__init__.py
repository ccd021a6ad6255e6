"""Many architectures, ranked by few training images and by all of them."""
