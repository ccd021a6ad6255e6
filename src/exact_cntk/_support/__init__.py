"""What every room uses and no user calls: files, machine, devices, progress, checks of input, statements."""
